"""What the data of many iterations cost a training pod: requests to the object store, and seconds, before it begins.

    python benchmarks/store_requests.py [--iterations 1 20 200] [--formulas 20]

A data set an iteration, for training and held out, lies in a SeaweedFS on this machine: file by file; packed, an object
each; and joined, as the driver leaves them before each iteration. They are fetched as Argo's executor does it: it asks
for the key, lists what lies below, and gets one object after the other. Seconds are those of this machine, without a
network, and with whatever else it does; requests are the same everywhere.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from _bench import Cell, parse_arguments, parser, publish, timed
from ase.build import bulk
from minio import Minio
from minio.error import S3Error

from lamflow.cluster.packs import compact
from lamflow.cluster.store import Store
from lamflow.config.pods import ObjectStore
from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.layout import HELDOUT, TRAIN
from lamflow.data.packs import pack, unpack_all
from lamflow.engines.emt import Emt, EmtEvaluator

sys.path.insert(0, str(Path(__file__).parent.parent))  # for the server that the tests have, too
from tests.stand_ins.s3 import ACCESS, SECRET, s3_server

BUCKET = "benchmark"
ELEMENTS = ["Cu", "Au"]


class Counting(urllib3.PoolManager):
    """Connections that count requests."""

    requests = 0

    def urlopen(self, *args: Any, **more: Any) -> Any:
        """See urllib3."""
        self.requests += 1
        return super().urlopen(*args, **more)


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--iterations", type=int, nargs="+", default=[1, 20, 200])
    options.add_argument("--formulas", type=int, default=20)
    settings = parse_arguments(options, iterations=[1, 3], formulas=2)
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET)
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = data_set(folder / "data", settings.formulas)
        (folder / "s3").mkdir()
        with s3_server(folder / "s3") as server:
            server.client.make_bucket(BUCKET)
            http = Counting(retries=False, maxsize=8)
            client = Minio(
                server.endpoint.removeprefix("http://"), ACCESS, SECRET, secure=False, region="us-east-1",
                http_client=http,
            )  # fmt: skip
            files = {str(file.relative_to(dataset)): file for file in dataset.rglob("*") if file.is_file()}
            stored, lamflow = 0, Store(ObjectStore(endpoint=server.endpoint, bucket=BUCKET), "joined/")
            for iterations in sorted(settings.iterations):
                for role in (TRAIN, HELDOUT):
                    numbers = [f"{number:03d}" for number in range(stored, iterations)]
                    put(client, [(f"files/{role}/{n}/{key}", file) for n in numbers for key, file in files.items()])
                    for n in numbers:
                        for layout in ("packs", "joined"):
                            put(client, [(f"{layout}/{role}/{n}.tar", pack(dataset, n))])
                        compact(lamflow, folder, role)
                stored = iterations
                for layout, objects in (("files", 2 * len(files)), ("packs", 2), ("joined", 2)):
                    with tempfile.TemporaryDirectory(dir=folder) as pod:
                        http.requests = 0
                        with timed() as fetching:
                            for role in (TRAIN, HELDOUT):
                                fetch(client, f"{layout}/{role}", Path(pod) / role)
                        before = time.process_time()
                        for role in (TRAIN, HELDOUT):
                            unpack_all(Path(pod) / role)
                        unpacking = time.process_time() - before
                    rows.append({
                        "iterations": iterations, "layout": layout, "objects an iteration adds": objects,
                        "requests of a train pod": http.requests, "fetching (s)": fetching.seconds,
                        "unpacking (CPU s)": unpacking,
                    })  # fmt: skip
    publish(settings, "store_requests", f"Data sets of {settings.formulas} formulas", rows)


def data_set(folder: Path, formulas: int) -> Path:
    """A data set of two frames of each of so many formulas."""
    frames = [
        Frame.from_ase(bulk("Cu", "fcc", a=3.6 + 0.01 * strain).repeat((size, 1, 1)))
        for size in range(1, formulas + 1)
        for strain in range(2)
    ]
    labels = EmtEvaluator(Emt()).evaluate(frames)
    items = [
        Item(LabeledFrame(frame, said), Origin(iteration=0, source=f"md#{index}"))
        for index, (frame, said) in enumerate(zip(frames, labels, strict=True))
    ]
    write_dataset(folder, items, ELEMENTS, "deepmd/npy")
    return folder


def put(client: Minio, files: Iterable[tuple[str, Path]]) -> None:
    """Store files under their keys."""

    def one(item: tuple[str, Path]) -> None:
        content = item[1].read_bytes()
        client.put_object(BUCKET, item[0], io.BytesIO(content), len(content))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, files))


def fetch(client: Minio, key: str, target: Path) -> None:
    """Bring an artifact as Argo's executor does."""
    with contextlib.suppress(S3Error):  # there is no object of this key
        client.get_object(BUCKET, key)
    for item in client.list_objects(BUCKET, prefix=f"{key}/", recursive=True):
        assert item.object_name is not None
        file = target / item.object_name.removeprefix(f"{key}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        answer = client.get_object(BUCKET, item.object_name)
        file.write_bytes(answer.read())
        answer.close()
        answer.release_conn()


if __name__ == "__main__":
    main()
