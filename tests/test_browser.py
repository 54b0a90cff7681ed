"""The example page runs an exported model in a browser."""

import functools
import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from conftest import model_of, tiny, unchecked
from ulna.formats.writing import write_clips

PAGE = Path(__file__).parent.parent / "examples" / "browser"
RUNTIME = Path(os.environ.get("ULNA_ONNXRUNTIME_WEB", PAGE / "node_modules" / "onnxruntime-web"))
CHROMIUM = shutil.which("chromium")

# The browser writes the page once all of it is loaded: an image that the server sends when the answer is there.
SIGNAL = """<img src="/image"><script>
const waiting = setInterval(() => {
  if (!document.body.dataset.result && !document.querySelector(".error")) return;
  clearInterval(waiting);
  fetch("/finished");
}, 100);
</script>"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or not RUNTIME.is_dir(), reason="needs Chromium, and `npm install` in examples/browser"
)


@pytest.fixture(scope="module")
def site(dataset, tmp_path_factory):
    """A folder with the page, a model and a clip, served on this computer."""
    folder = tmp_path_factory.mktemp("site")
    model = model_of(tiny(epochs=2), dataset, folder / "model")
    model.fit(dataset, split="half")
    with unchecked():
        model.export(folder / "model.onnx")
    clip = dataset.clip(17)
    write_clips([clip], folder / "clip.csv")
    shutil.copy(PAGE / "app.js", folder)
    (folder / "index.html").write_text((PAGE / "index.html").read_text() + SIGNAL)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "onnxruntime-web").symlink_to(RUNTIME.resolve())

    finished = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/finished":
                finished.set()
            if self.path == "/image":
                finished.wait(60)
                finished.clear()
            super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/index.html", model, clip
        server.shutdown()
        thread.join()


def visit(address):
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", address],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def test_the_page_answers_like_the_model(site):
    _, address, model, clip = site
    page = visit(f"{address}?model=model.onnx&clip=clip.csv")
    found = json.loads(html.unescape(re.search(r'data-result="([^"]*)"', page)[1]))
    (answer,) = model.predict([clip])
    np.testing.assert_allclose(found["embedding"], model.embed([clip])[0], atol=1e-4)
    assert max(found["probabilities"], key=found["probabilities"].get) == answer.label
    assert f"Most likely: {answer.label}." in page


def test_the_page_names_what_is_wrong(site):
    folder, address, _, _ = site
    (folder / "other.csv").write_text("a,b\n1,2\n")
    page = visit(f"{address}?model=model.onnx&clip=other.csv")
    assert "expected a column frame in the clip, found a, b" in page
    page = visit(f"{address}?model=none.onnx&clip=other.csv")
    assert "expected a file none.onnx, found none" in page
    page = visit(f"{address}?model=index.html&clip=other.csv")
    assert re.search('id="message" class="error">expected', page)
