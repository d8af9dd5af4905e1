"""Write docs/rules.md from the rules themselves."""  # noqa: INP001 (a script)

from __future__ import annotations

from pathlib import Path

from mlpstorage.kinds.rule_page import rule_page

if __name__ == "__main__":
    Path(__file__).with_name("rules.md").write_text(rule_page(), encoding="utf-8")
