"""Golden tables for data/tests/sources.rs, written by pyarrow as other programs write them.

    python scripts/reference/tables.py
"""

import datetime
import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet

OUT = pathlib.Path(__file__).parents[2] / "data/tests/golden"


def main():
    chats = [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n早"}],
        [{"role": "user", "content": "c"}],
        None,
    ]
    at = [datetime.datetime(2024, 5, 6, 7, 8, 9), None, datetime.datetime(2000, 2, 29)]
    table = pa.table(
        {
            "messages": pa.array(chats, pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string())]))),
            "prompt": pa.array(["p", None, "r"], pa.string()),
            "weight": pa.array([0.5, 2.0, None], pa.float32()),
            "count": pa.array([1, -2, 3], pa.int64()),
            "scores": pa.array([[1, 2], [], None], pa.large_list(pa.int64())),
            "flag": pa.array([True, None, False]),
            "at": pa.array(at, pa.timestamp("us")),
        }
    )
    OUT.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, OUT / "chats.parquet")
    feather.write_feather(table, OUT / "chats.arrow", compression="uncompressed")
    feather.write_feather(table, OUT / "chats.zstd.feather", compression="zstd")
    with pa.OSFile(str(OUT / "chats.stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    rows = table.drop_columns(["at"]).to_pylist()
    (OUT / "tables.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    judges = pa.table({"judge": pa.array(["x", "y", "x"]).dictionary_encode(), "prompt": ["a", "b", "c"]})
    parquet.write_table(judges, OUT / "dictionary.parquet")
    scores = pa.table({"score": pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 2)), "prompt": ["a"]})
    parquet.write_table(scores, OUT / "decimal.parquet")
    small = {"prompt": ["a", "b"], "ranks": pa.array([[1, 2], [2, 1]], pa.list_(pa.uint8())), "score": pa.array([7, 300], pa.uint16())}
    parquet.write_table(pa.table(small), OUT / "small.parquet")
    half = {"prompt": ["a"], "weight": pa.array([0.5], pa.float16())}
    parquet.write_table(pa.table(half), OUT / "half.parquet")


if __name__ == "__main__":
    main()
