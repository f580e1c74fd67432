"""An HTTP server that streams videos, and playlists that lead to other files."""

import contextlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Serves `pages`, a dict of the server by path: bytes, or a function of the handler."""

    def do_GET(self):
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
        elif callable(page):
            page(self)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve():
    """An HTTP server on this machine."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.asked = []
    httpd.pages = {}
    httpd.address = f"http://127.0.0.1:{httpd.server_port}"
    httpd.is_over = threading.Event()
    thread = threading.Thread(target=partial(httpd.serve_forever, 0.02))
    thread.start()
    yield httpd
    httpd.is_over.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp2t">'
    '<Representation id="1" bandwidth="9"><BaseURL>{target}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "playlist": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
}
