"""Run a script in headless Chromium, on a page that opens from disk, and read what it found."""

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from btsee_site.still import BROWSERS, CHROMIUM, OPTIONS

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(BROWSERS)} is installed")
# The last module of the page; what it finds is read back from the page's text.
REPORT = """
<script type="module">
const note = (found) => {{
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
}};
const look = async () => {{ {script} }};
try {{ note({{ found: await look() }}); }} catch (problem) {{ note({{ problem: String(problem.stack) }}); }}
</script>"""


def found_in_browser(folder: Path, page: str, script: str):
    """Open a page with a script after it, and return what the script returns, through JSON."""
    path = folder / "page.html"
    path.write_text(page + REPORT.format(script=script))
    profile = f"--user-data-dir={folder / 'browser'}"
    command = [CHROMIUM, *OPTIONS, profile, "--dump-dom", path.as_uri()]
    for _ in range(8):  # on a busy machine the page's time may be up before the script has ended
        text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
        found = re.search(r'<pre id="found">(.*?)</pre>', text, re.DOTALL)
        if found:
            break
    assert found, "the browser ended eight times before the script of the page did"
    answer = json.loads(html.unescape(found[1]))
    assert "problem" not in answer, answer["problem"]
    return answer["found"]
