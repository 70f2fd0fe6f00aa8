"""What the real TensorBoard makes of a folder: {tag: [[step, value], ...]} for curves and texts, read anew at each line of standard input.

With `live` the reader stays open from one line to the next, as TensorBoard does while a run goes on.
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

folder, live = sys.argv[1], sys.argv[2] == "live"
events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
for _ in sys.stdin:
    if not live:
        events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    seen = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:
        assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text", tag
        seen[tag] = [[e.step, tensor_util.make_ndarray(e.tensor_proto).item().decode()] for e in events.Tensors(tag)]
    print(json.dumps(seen), flush=True)
