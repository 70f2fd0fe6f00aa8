"""What the real TensorBoard makes of a folder: {tag: [[step, value], ...]} for curves and texts, read anew at each line of standard input.

With `live` the reader stays open from one line to the next, as TensorBoard does while a run goes on.
"""

import json
import sys

# The accumulator behind TensorBoard's own pages (backend/event_processing/data_ingester.py); it keeps every value as a tensor.
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

folder, live = sys.argv[1], sys.argv[2] == "live"
events = EventAccumulator(folder, size_guidance={"tensors": 0})
for _ in sys.stdin:
    if not live:
        events = EventAccumulator(folder, size_guidance={"tensors": 0})
    events.Reload()
    seen = {}
    for tag in events.Tags()["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        assert plugin in ("scalars", "text"), (tag, plugin)
        values = [[e.step, tensor_util.make_ndarray(e.tensor_proto).item()] for e in events.Tensors(tag)]
        seen[tag] = [[step, value.decode() if plugin == "text" else value] for step, value in values]
    print(json.dumps(seen), flush=True)
