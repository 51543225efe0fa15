"""llama.cpp's own HTTP server for one GGUF model, out of the PyPI wheel `xllamacpp` (no build, no other program).

It serves OpenAI's API (chat, completions, embeddings; streaming), /health, /metrics, /slots and /props. This file
adds what a supervised replica needs: it finds the model in a folder, says plainly why a model cannot be served,
prints one READY line, and on SIGTERM lets requests in flight finish before it ends.
"""

import argparse
import fcntl
import os
import pathlib
import re
import signal
import socket
import stat
import struct
import sys
import termios
import time

ENDS = {signal.SIGTERM, signal.SIGINT}
PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")


class CannotServe(Exception):
    """The model cannot be served, in one sentence."""


def main() -> None:
    options = parse_options(sys.argv[1:])
    # Before llama.cpp starts its threads, which inherit the mask: a signal that reached one of them would not wake the
    # thread of Python's handlers, and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        model = find_model(options)
        server = start(model, options)
    except CannotServe as error:
        sys.exit(f"muster-llamacpp: {error}")
    print(f"READY {server.listening_address}", flush=True)
    signal.sigwait(ENDS)
    drain(server, options.host, port_of(server), options.grace_seconds)
    print("STOPPED", flush=True)
    # Not by llama.cpp's destructor: it waits for requests that outlast the grace, and lets no other thread of Python
    # run meanwhile, so that nothing could end the wait.
    os._exit(0)


def port_of(server) -> int:
    return int(server.listening_address.rsplit(":", 1)[1])


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="muster-llamacpp", allow_abbrev=False)
    parser.add_argument("--model_dir", "--model-dir", help="folder that holds one .gguf file")
    parser.add_argument("--model", help="the .gguf file itself")
    parser.add_argument("--alias", "--model_name", default="", help="name that the model answers to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", "--http_port", type=int, default=8080)
    parser.add_argument("--ctx", type=int, default=4096, help="tokens of context, shared by the parallel requests")
    parser.add_argument("--parallel", type=int, default=2, help="requests that are computed at one time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--embedding", action="store_true", help="serve /v1/embeddings, pooled by the mean")
    parser.add_argument("--grace-seconds", "--grace_seconds", type=float, default=30)
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.model_dir is None):
        parser.error("give either --model FILE or --model_dir FOLDER")
    for name in ("ctx", "parallel", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    return options


def find_model(options: argparse.Namespace) -> pathlib.Path:
    """The GGUF file to serve; of a model in parts, the first."""
    if options.model is not None:
        file = pathlib.Path(options.model)
    else:
        folder = pathlib.Path(options.model_dir)
        if not folder.is_dir():
            raise CannotServe(f"the model folder {folder} does not exist")
        files = sorted(folder.rglob("*.gguf"))
        later_parts = [f for f in files if (part := PART.search(f.name)) and int(part[1]) > 1]
        models = [f for f in files if f not in later_parts]
        if not models:
            raise CannotServe(f"{folder} holds no .gguf file")
        if len(models) > 1:
            names = ", ".join(str(f.relative_to(folder)) for f in models)
            raise CannotServe(f"{folder} holds several models ({names}): leave one, or name it with --model")
        file = models[0]
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise CannotServe(f"cannot read {file}: {error.strerror}") from error
    if magic != b"GGUF":
        raise CannotServe(f"{file} is not a GGUF file: it starts with {magic!r}")
    return file


def start(model: pathlib.Path, options: argparse.Namespace):
    try:
        import xllamacpp
    except ImportError as error:
        raise CannotServe(f"the python package xllamacpp is missing: {error}") from error
    if in_use(options.host, options.port):
        raise CannotServe(f"port {options.port} of {options.host} is in use")
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {options.alias or model.stem}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx, params.n_parallel, params.n_gpu_layers = options.ctx, options.parallel, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.offline, params.use_jinja, params.ui = True, True, False
    # llama.cpp lets every web page of a browser on this machine read its answers, unless told otherwise.
    params.cors_origins = ""
    if options.embedding:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise CannotServe(f"llama.cpp could not load {model}; its own words are in the lines above") from error


def in_use(host: str, port: int) -> bool:
    """llama.cpp would only say that it could not start."""
    if port == 0:
        return False
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def drain(server, host: str, port: int, grace_seconds: float) -> None:
    """Takes no new connection and waits until no request is in flight, but no longer than the grace."""
    deadline = time.monotonic() + grace_seconds
    stop_listening(host, port)
    quiet = 0
    # Quiet for half a second: between two requests that wait for one of llama.cpp's threads nothing is in flight, nor
    # while such a thread has yet to write what was computed.
    while quiet < 10 and time.monotonic() < deadline:
        quiet = 0 if requests_in_flight(server) or unread_or_unsent(port) else quiet + 1
        time.sleep(0.05)


def stop_listening(host: str, port: int) -> None:
    """Takes the listening socket away from llama.cpp without its knowing.

    It has no call for this, and once it sees its socket closed it cuts the streams it is sending. So another
    socket, which nobody can reach, is put in the place of its own. The thread that waits in accept() still holds
    the old one, until one last connection wakes it.
    """
    nowhere = socket.socket(socket.AF_UNIX)
    nowhere.bind("")
    nowhere.listen()
    for number, found in own_sockets():
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and found.getsockname()[1] == port:
            os.dup2(nowhere.fileno(), number)
        found.close()
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        pass  # Nobody waited in accept(): the old socket is gone already.


def unread_or_unsent(port: int) -> bool:
    """True while a connection holds a request that llama.cpp has not read, or an answer that has not left."""
    busy = False
    for _, found in own_sockets():
        try:
            if found.getsockname()[1] == port and found.getpeername():
                waiting = [fcntl.ioctl(found, question, bytes(4)) for question in (termios.FIONREAD, termios.TIOCOUTQ)]
                busy = busy or any(struct.unpack("i", count)[0] for count in waiting)
        except OSError:
            pass  # Closed meanwhile.
        found.close()
    return busy


def own_sockets() -> list[tuple[int, socket.socket]]:
    """This process's IP sockets: the number of each, and a copy to ask and to close."""
    found = []
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # The list's own descriptor, closed by now.
        if copy.family in (socket.AF_INET, socket.AF_INET6):
            found.append((int(name), copy))
        else:
            copy.close()
    return found


def requests_in_flight(server) -> int:
    """Requests that llama.cpp computes or has waiting, from its own metrics."""
    text = str(server.handle_metrics())
    counts = re.findall(r"^llamacpp:requests_(?:processing|deferred) (\d+)", text, re.MULTILINE)
    return sum(int(count) for count in counts)


if __name__ == "__main__":
    main()
