"""The ``stretto`` command: what there is to say, and who does it.

What a command needs is imported when it runs, so that ``--help`` is quick and a machine
without the server's libraries gets one clear line.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

NO_SERVER: Final = (
    "this command needs the server's libraries; install them with:\n"
    "    pip install 'stretto[server]'"
)

Subparsers = Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 good, 1 failed, 2 wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        from stretto_core.errors import StrettoError
        from stretto_server.settings import SettingsError

        try:
            code: int = arguments.run(arguments)
            return code
        except SettingsError as error:
            print(f"stretto: {error}", file=sys.stderr)
            return 2
        except StrettoError as error:
            print(f"stretto: {error.message}", file=sys.stderr)
            return 1
        except BrokenPipeError:  # whoever read the output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            print(f"stretto: {error.filename or ''}: {error.strerror}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("stretto_"):
            raise
        print(NO_SERVER, file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="stretto", description="Realtime collaboration server: no acknowledged edit is lost."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_token(commands)
    _add_docs(commands)
    _add_replay(commands)
    _add_migrate(commands)
    _add_doctor(commands)
    return parser


def _add_serve(commands: Subparsers) -> None:
    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument(
        "--dev",
        action="store_true",
        default=None,
        help="for your own machine: loopback only, guests may edit, a key is made for you",
    )
    serve.add_argument("--host", help="where to listen (0.0.0.0; with --dev 127.0.0.1)")
    serve.add_argument("--port", type=int, help="which port to listen on (8080)")
    serve.add_argument("--data", help="folder of the SQLite journal and dev.key (./data)")
    serve.add_argument("--journal", metavar="URL", help="sqlite:///, redis:// or postgresql://")
    serve.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes on the port, each a node (1); more need Redis and take WebSocket only",
    )
    # A socket to the process that watches over the workers, in each of them.
    serve.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from stretto_server.serving import serve

    return serve(
        os.environ,
        dev=arguments.dev,
        host=arguments.host,
        port=arguments.port,
        data=arguments.data,
        journal=arguments.journal,
        workers=arguments.workers,
        worker=arguments.worker,
    )


def _add_token(commands: Subparsers) -> None:
    token = commands.add_parser("token", help="print a signed token and nothing else")
    token.add_argument("--sub", required=True, metavar="ID", help="the user's id")
    token.add_argument("--name", help="the user's name, as others see it")
    token.add_argument(
        "--grant",
        action="append",
        default=[],
        metavar="PATTERN=ROLE",
        help="for example 'docs/*=editor'; roles: viewer, editor, owner; may be repeated",
    )
    token.add_argument("--ttl", default="1h", help="how long it is valid: 90s, 15m, 1h, 7d (1h)")
    token.add_argument("--dev", action="store_true", help="sign with the key of `serve --dev`")
    token.add_argument("--data", help="folder of dev.key, with --dev (./data)")
    token.set_defaults(run=_token)


def _token(arguments: argparse.Namespace) -> int:
    from stretto_server.auth import issue_token
    from stretto_server.document_commands import command_settings, parse_grants, parse_ttl

    settings = command_settings(dev=arguments.dev or None, data=arguments.data, keyless=False)
    assert settings.secret is not None
    print(
        issue_token(
            settings.secret,
            arguments.sub,
            name=arguments.name,
            grants=parse_grants(arguments.grant),
            ttl_s=parse_ttl(arguments.ttl),
            audience=settings.token_audience,
            issuer=settings.token_issuer,
        )
    )
    return 0


def _add_docs(commands: Subparsers) -> None:
    docs = commands.add_parser("docs", help="look after documents in the journal")
    docs_commands = docs.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Callable[[argparse.Namespace], Any], *names: str) -> Any:
        command = docs_commands.add_parser(name, help=text, description=text)
        for positional in names:
            command.add_argument(positional)
        command.add_argument("--journal", metavar="URL", help="sqlite:///path")
        command.add_argument("--data", help="folder of the SQLite journal (./data)")
        command.set_defaults(run=run)
        return command

    listing = add("list", "list documents", _docs("list_documents"))
    listing.add_argument("--prefix", default="", help="only ids that start so")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    add("show", "tell where a document stands", _docs("show"), "doc")
    add("verify", "replay a document's log; compare text and hashes", _docs("verify"), "doc")
    export = add("export", "write a document's text", _docs("export"), "doc")
    export.add_argument("--output", default="-", help="a file; standard output when not given")
    history = add("history", "list a document's operations", _docs("history"), "doc")
    history.add_argument("--json", action="store_true", help="one JSON object a line")
    history.add_argument("--from", dest="first", type=int, help="the first version to list")
    importing = add("import", "start a document anew from a text", _docs("import_"), "doc", "file")
    importing.add_argument("--replace", action="store_true", help="even if it exists already")
    importing.add_argument("--dev", action="store_true", help="the running server is --dev")
    deleting = add("delete", "delete a document", _docs("delete"), "doc")
    deleting.add_argument("--yes", action="store_true", help="do not ask")
    deleting.add_argument("--dev", action="store_true", help="the running server is --dev")


def _docs(name: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        from stretto_server import document_commands

        command: Callable[[argparse.Namespace], Coroutine[Any, Any, int]]
        command = getattr(document_commands, name)
        return asyncio.run(command(arguments))

    return run


def _add_replay(commands: Subparsers) -> None:
    replay = commands.add_parser("replay", help="play a recorded editing history through a server")
    try:
        import stretto_client.replay as player
    except ModuleNotFoundError:  # without the libraries main() says what to install
        replay.set_defaults(run=_missing)
        return
    player.add_arguments(replay)

    def run(arguments: argparse.Namespace) -> int:
        return asyncio.run(player.run(arguments))

    replay.set_defaults(run=run)


def _missing(_arguments: argparse.Namespace) -> int:
    raise ModuleNotFoundError(NO_SERVER)


def _add_migrate(commands: Subparsers) -> None:
    migrate = commands.add_parser(
        "migrate", help="bring the schema of a PostgreSQL journal up to date"
    )
    migrate.add_argument("--journal", metavar="URL", help="postgresql://host/database")
    migrate.set_defaults(run=_migrate)


def _migrate(arguments: argparse.Namespace) -> int:
    from stretto_server.migration import migrate

    return asyncio.run(migrate(arguments))


def _add_doctor(commands: Subparsers) -> None:
    doctor = commands.add_parser("doctor", help="check settings, journal and limits of a machine")
    doctor.add_argument("--dev", action="store_true", default=None)
    doctor.add_argument("--data", help="folder of the SQLite journal (./data)")
    doctor.add_argument("--journal", metavar="URL")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from stretto_server.doctor import examine

    return asyncio.run(
        examine(dict(os.environ), dev=arguments.dev, data=arguments.data, journal=arguments.journal)
    )
