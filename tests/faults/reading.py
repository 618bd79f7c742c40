"""Reads documents as a process that knows nothing of the test: ``python reading.py URL DOC…``.

It runs ``stretto docs history --json``, ``export`` and ``verify``, and prints what they say,
one JSON object a document.
"""

import contextlib
import io
import json
import sys

from stretto_server.cli import main


def run(name: str, doc: str, *options: str) -> tuple[int, str, str]:
    binary, complaints = io.BytesIO(), io.StringIO()
    output = io.TextIOWrapper(binary, encoding="utf-8", newline="")
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaints):
        code = main(["docs", name, doc, *options])
    output.flush()
    return code, binary.getvalue().decode(), complaints.getvalue()


if __name__ == "__main__":
    url, *docs = sys.argv[1:]
    for doc in docs:
        told = {
            name: run(name, doc, *options, "--journal", url)
            for name, options in (("history", ["--json"]), ("export", []), ("verify", []))
        }
        print(json.dumps(told))
