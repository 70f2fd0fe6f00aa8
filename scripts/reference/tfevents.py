"""Golden bytes for `train::tfevents`: a few events as TensorBoard's own writer frames them.

    python scripts/reference/tfevents.py        rewrites train/tests/golden/tensorboard.tfevents (needs tensorboard of requirements.txt)
"""

import pathlib

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

Value = summary_pb2.Summary.Value
START = event_pb2.SessionLog(status=event_pb2.SessionLog.START)


def text(tag, words):
    plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
    metadata = summary_pb2.SummaryMetadata(plugin_data=plugin, data_class=summary_pb2.DATA_CLASS_TENSOR)
    shape = tensor_shape_pb2.TensorShapeProto()
    tensor = tensor_pb2.TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[words.encode()])
    return Value(tag=tag, metadata=metadata, tensor=tensor)


def summary(*values):
    return summary_pb2.Summary(value=values)


events = [
    event_pb2.Event(wall_time=1.5, file_version="brain.Event:2"),
    event_pb2.Event(wall_time=2.25, session_log=START),
    event_pb2.Event(
        wall_time=3.0, step=300, summary=summary(Value(tag="loss", simple_value=0.1), Value(tag="eval/loss", simple_value=0.0))
    ),
    event_pb2.Event(wall_time=4.0, step=1 << 40, summary=summary(text("eval/sample", "Grüße, " + "x" * 200))),
    event_pb2.Event(wall_time=5.0, step=7, session_log=START),
]
path = pathlib.Path(__file__).parents[2] / "train/tests/golden/tensorboard.tfevents"
with open(path, "wb") as out:
    writer = RecordWriter(out)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    writer.flush()
