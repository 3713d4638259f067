"""The game in a browser: matplotlib's WebAgg server, for this machine alone."""

import asyncio
import signal
import sys
import webbrowser
from typing import Any

_HOST = "127.0.0.1"


def serve(figure: Any, port: int = 0, opens: bool = True) -> int:
    """Serve a figure of the WebAgg backend until Ctrl-C; returns 0.

    Args:
        figure: known to pyplot.
        port: to listen on; a free one unless given.
        opens: whether to open a browser.

    Raises:
        OSError: the port is in use, or may not be used.
    """
    from matplotlib.backends.backend_webagg import WebAggApplication
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    try:
        sockets = bind_sockets(port, _HOST)
    except OSError as error:
        raise OSError(
            f"port {port} cannot be used ({error.strerror}): choose another, or leave --port out "
            "for a free one"
        ) from None

    async def run() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        previous = [
            (number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)
        ]

        def stop(*_: Any) -> None:
            loop.call_soon_threadsafe(stopped.set)

        for number, _ in previous:
            signal.signal(number, stop)
        server = HTTPServer(WebAggApplication())
        server.add_sockets(sockets)
        url = f"http://{_HOST}:{sockets[0].getsockname()[1]}/{figure.number}"
        print(f"the sandpit is at {url}  (Ctrl-C ends it)", flush=True)
        if opens:
            webbrowser.open(url)
        try:
            await stopped.wait()
        finally:
            server.stop()
            for number, handler in previous:
                signal.signal(number, handler)

    asyncio.run(run())
    print("the sandpit is closed", file=sys.stderr)
    return 0
