"""The stubs in the repository are those that the .proto files give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_stubs_are_those_the_proto_files_give(tmp_path: Path) -> None:
    protos = sorted((ROOT / "protos").rglob("*.proto"))
    assert protos
    generated = subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{ROOT}",
            *(
                f"--{plugin}_out={tmp_path}"
                for plugin in ("python", "mypy", "grpc_python", "mypy_grpc")
            ),
            *map(str, protos),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )
    assert generated.returncode == 0, generated.stderr
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert len(fresh) == 4 * len(protos)
    kept = {name: (ROOT / name).read_text() for name in fresh}
    stale = [str(name) for name in fresh if fresh[name] != kept[name]]
    assert not stale, f"run `make protos`: {stale} are older than their .proto files"
