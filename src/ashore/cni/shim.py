# SPDX-License-Identifier: Apache-2.0
"""Hands a container runtime's request to the agent and its answer back; see ``docs/reference/cni.md``.

It is executed for every pod, so start-up time counts: the interpreter's own C modules are used where their Python
wrappers (``json``, ``socket``, ``signal``) cost more than all the rest; the wrappers are the fallback.
"""

# ruff: noqa: PLC0415 (imports stand where they are needed, because start-up time counts)

import os

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SOCKET = "/run/ashore/cni.sock"
MAX_BYTES = 1 << 20
DEADLINES_S = {"ADD": 30.0}
OTHER_DEADLINE_S = 10.0
# The agent has the same deadlines and knows the reason, so it gets a moment to say it before the shim gives up.
GRACE_S = 1.0
# A unix socket's path has room for 107 bytes and a zero.
LONGEST_PATH = 107
INCOMPATIBLE, BAD_ENV, IO_FAILURE, UNDECODABLE, BAD_CONFIG, TRY_AGAIN = 1, 4, 5, 6, 7, 11
NOT_AVAILABLE, UNREACHABLE, DEADLINE, INTERNAL = 50, 100, 101, 999
NEEDS = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
WITHOUT_AGENT = {"DEL": TRY_AGAIN, "GC": TRY_AGAIN, "STATUS": NOT_AVAILABLE}


class Trouble(Exception):  # noqa: N818 (it becomes a CNI error)
    """Ends the request with a CNI error."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, details


def parse(text: str) -> object:
    """The JSON value of a text; raises ValueError, or RecursionError for one that is nested too deeply."""
    try:
        import _json

        class Context:
            strict, object_hook, object_pairs_hook = True, None, None
            parse_float, parse_int, parse_constant = float, int, float

        scan = _json.make_scanner(Context)  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = scan(text, start)
    except (StopIteration, SystemError):
        # The C scanner can't raise its own error while json.decoder isn't loaded; the slow way words it.
        import json

        return json.loads(text)
    if text[end:].strip(" \t\r\n"):
        raise ValueError("more than one JSON value")
    return value


def quote(text: str) -> str:
    """A JSON string; what isn't UTF-8 in the environment is replaced."""
    text = text.encode("utf-8", "replace").decode()
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)


def arm(command: str) -> None:
    """Make every blocking call end at the command's deadline, a runtime that never closes our input included."""
    try:
        import _signal as signal  # type: ignore[import-not-found]
    except ImportError:
        import signal

    def late(_number: int, _frame: object) -> None:
        raise Trouble(DEADLINE, "ashore: no answer from the agent within the deadline; see the agent's log")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINES_S.get(command, OTHER_DEADLINE_S) + GRACE_S)


def read_input() -> str:
    """Standard input as text, up to the limit."""
    chunks: list[bytes] = []
    size = 0
    while size <= MAX_BYTES:
        chunk = os.read(0, 65536)
        if not chunk:
            try:
                return b"".join(chunks).decode()
            except UnicodeDecodeError as error:
                raise Trouble(UNDECODABLE, f"ashore: network configuration isn't UTF-8: {error}") from None
        chunks.append(chunk)
        size += len(chunk)
    raise Trouble(UNDECODABLE, f"ashore: network configuration is larger than {MAX_BYTES} bytes")


def read_config(command: str, text: str) -> dict[str, object]:
    """The network configuration; VERSION may come without one."""
    if command == "VERSION" and not text.strip():
        return {}
    try:
        config = parse(text)
    except (ValueError, RecursionError) as error:
        raise Trouble(UNDECODABLE, f"ashore: network configuration isn't JSON: {error}") from None
    if not isinstance(config, dict):
        raise Trouble(UNDECODABLE, "ashore: network configuration isn't a JSON object")
    return config


def check_request(command: str, config: dict[str, object]) -> str:
    """The socket's path; raises Trouble for what the agent needn't see."""
    if config.get("cniVersion", VERSIONS[0]) not in VERSIONS:
        wanted = str(config["cniVersion"])[:40]
        raise Trouble(INCOMPATIBLE, f"ashore: cniVersion {wanted!r} isn't one of {', '.join(VERSIONS)}")
    if missing := [key for key in NEEDS[command] if not os.environ.get(key)]:
        raise Trouble(BAD_ENV, f"ashore: {command} needs {', '.join(missing)} in the environment")
    path = config.get("socket", SOCKET)
    if not isinstance(path, str) or not path.startswith("/") or len(path.encode("utf-8", "replace")) > LONGEST_PATH:
        raise Trouble(BAD_CONFIG, "ashore: 'socket' in the network configuration isn't an absolute path")
    return path


def request_line(command: str, text: str) -> bytes:
    """One line for the agent. A raw line break in valid JSON is white space."""
    env = os.environ.get
    args = env("CNI_ARGS", "")
    uid = next((part[12:] for part in args.split(";") if part.startswith("K8S_POD_UID=")), "")
    fields = (
        ("command", command),
        ("container_id", env("CNI_CONTAINERID", "")),
        ("netns", env("CNI_NETNS", "")),
        ("ifname", env("CNI_IFNAME", "")),
        ("args", args),
        ("pod_uid", uid),
    )
    head = ",".join(f'"{key}":{quote(value)}' for key, value in fields)
    config = text.replace("\n", " ").replace("\r", " ").strip() or "{}"
    return f'{{{head},"config":{config}}}\n'.encode()


def ask(command: str, path: str, line: bytes) -> str:
    """The agent's answer, one line."""
    try:
        import _socket as socket
    except ImportError:
        import socket  # type: ignore[no-redef]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        raise Trouble(
            WITHOUT_AGENT.get(command, UNREACHABLE),
            f"ashore: the agent doesn't answer on {path} ({error.strerror}); is ashore-agent running on this node?",
        ) from None
    chunks, size = [], 0
    try:
        connection.sendall(line)
        while size <= 4 * MAX_BYTES:
            chunk = connection.recv(65536)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            if chunk.endswith(b"\n"):
                return b"".join(chunks).decode("utf-8", "replace").strip()
    except OSError as error:
        raise Trouble(WITHOUT_AGENT.get(command, IO_FAILURE), f"ashore: talking to the agent: {error}") from None
    raise Trouble(
        WITHOUT_AGENT.get(command, IO_FAILURE),
        "ashore: the agent closed the connection without an answer; it may be restarting, the runtime will try again",
    )


def unpack(answer: str) -> str:
    """The result's text; raises Trouble for the agent's error or an answer that isn't one."""
    try:
        reply = parse(answer)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict):
        if isinstance(error := reply.get("error"), dict) and type(error.get("code")) is int:
            raise Trouble(error["code"], str(error.get("msg", "")), str(error.get("details", "")))
        if isinstance(reply.get("result"), dict):
            if not reply["result"]:
                return ""
            if len(reply) == 1 and answer.startswith('{"result":'):
                return answer[len('{"result":') : -1]
            import json

            return json.dumps(reply["result"])
    raise Trouble(IO_FAILURE, "ashore: the agent's answer can't be understood; are shim and agent of one version?")


def serve(said: dict[str, str]) -> str:
    """What to print on success; ``said`` learns which CNI version the runtime speaks."""
    command = os.environ.get("CNI_COMMAND", "")
    arm(command)
    if command not in NEEDS:
        raise Trouble(BAD_ENV, f"ashore: CNI_COMMAND is {command[:40]!r}, not one of {', '.join(NEEDS)}")
    text = read_input()
    config = read_config(command, text)
    if (wanted := config.get("cniVersion")) in VERSIONS:
        said["version"] = str(wanted)
    if command == "VERSION":
        supported = ",".join(f'"{known}"' for known in VERSIONS)
        return f'{{"cniVersion":{quote(said["version"])},"supportedVersions":[{supported}]}}'
    path = check_request(command, config)
    return unpack(ask(command, path, request_line(command, text)))


def main() -> int:
    """Print a result and return 0, or print a CNI error and return 1; nothing else can happen."""
    status, said = 1, {"version": VERSIONS[-1]}
    try:
        output = serve(said)
        status = 0
    except Trouble as trouble:
        details = f',"details":{quote(trouble.details)}' if trouble.details else ""
        output = f'{{"cniVersion":{quote(said["version"])},"code":{trouble.code},"msg":{quote(trouble.msg)}{details}}}'
    except BaseException as error:  # noqa: BLE001 (the runtime can't read a traceback, whatever went wrong)
        told = quote(f"ashore: {type(error).__name__}: {error}")
        output = f'{{"cniVersion":{quote(said["version"])},"code":{INTERNAL},"msg":{told}}}'
    data = output.encode()
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        status = 1
    return status


if __name__ == "__main__":
    # Skips the interpreter's tidying up, which has nothing to tidy here.
    os._exit(main())
