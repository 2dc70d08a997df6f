"""`make docs`: writes the generated parts of docs/ anew. `python -m tests.docs messages` prints what healer can say."""

import sys

from tests.docs import messages
from tests.docs.pages import ROOT, pages

if sys.argv[1:] == ["messages"]:
    sys.stdout.write(messages.page() + "\n")
    raise SystemExit

for page, make in pages().items():
    path = ROOT / page
    text = make()
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        sys.stdout.write(f"written: {page}\n")
