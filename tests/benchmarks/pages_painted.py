"""From a click to what is painted, by the browser's own clock.

A script in the page stamps the reader's last act (a press of the pointer or of a key), every
change of the document, every stroke on a canvas and every message of a websocket. The page is
painted at the second animation frame after the last change before a quiet time that begins when
the script of the page has ended; the quiet wait itself is not counted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.browser.visits import IDLE, SLOW, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUIET = 100
"""Milliseconds without a change after which a page counts as painted."""

STOPWATCH = """
(() => {
  const watch = { act: 0, changed: 0, painted: 0, bytes: 0, messages: 0, due: false };
  window.atlasWatch = watch;
  const change = () => {
    watch.changed = performance.now();
    if (watch.due) return;
    watch.due = true;
    const frame = () => requestAnimationFrame(() => {
      const seen = watch.changed;
      requestAnimationFrame(() => {
        if (watch.changed > seen) return frame();
        watch.painted = performance.now();
        watch.due = false;
      });
    });
    frame();
  };
  for (const kind of ["pointerdown", "keydown"]) {
    addEventListener(kind, (event) => { watch.act = event.timeStamp; }, true);
  }
  const aside = "[data-testid=stStatusWidget],[data-testid=stToolbar],[data-testid=stHeader]";
  const watched = new MutationObserver((records) => {
    for (const record of records) {
      const at = record.target.nodeType === 1 ? record.target : record.target.parentElement;
      if (record.attributeName?.startsWith("data-test-")) continue;
      if (at && at.closest && at.closest(aside)) continue;
      return change();
    }
  });
  const begin = () => watched.observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
  begin();
  const patch = (kind, names) => {
    const made = window[kind] && window[kind].prototype;
    for (const name of names) {
      const drawn = made && made[name];
      if (drawn) made[name] = function (...given) { change(); return drawn.apply(this, given); };
    }
  };
  patch("CanvasRenderingContext2D", ["fillText", "fill", "stroke", "fillRect", "drawImage"]);
  patch("WebGLRenderingContext", ["drawArrays", "drawElements"]);
  patch("WebGL2RenderingContext", ["drawArrays", "drawElements"]);
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", (event) => {
        watch.messages += 1;
        watch.bytes += event.data.size ?? event.data.byteLength ?? event.data.length;
      });
    }
  };
})();
"""

RESTED = """
([quiet, idle]) => {
  const watch = window.atlasWatch;
  if (!watch || watch.due || !watch.painted) return false;
  if (idle && !document.querySelector(idle)) return false;
  return performance.now() - watch.changed >= quiet;
}
"""


@dataclass(frozen=True)
class Seen:
    """One act and what it took."""

    seconds: float
    """From the act, or from the start of the navigation, to the painted page."""
    bytes: int
    """Received over the websocket."""
    runs: int
    """Runs of the script."""
    cpu: float
    """Seconds of processor time of the server; 0 where there is none to watch."""


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and of those it started, finished ones included."""
    ticks = 0
    for stat in _stats(pid):
        ticks += sum(int(stat[i]) for i in (11, 12))
    return ticks / 100


def memory_of(pid: int) -> float:
    """Resident megabytes of a process and of those it started."""
    return sum(int(stat[21]) for stat in _stats(pid)) * 4096 / 1e6


def _stats(pid: int) -> list[list[str]]:
    """Fields after the name in /proc/PID/stat, of the process and its children."""
    found = []
    for number in [pid, *_children(pid)]:
        try:
            with open(f"/proc/{number}/stat", encoding="utf8") as file:
                found.append(file.read().rpartition(") ")[2].split())
        except OSError:
            continue
    return found


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf8") as file:
            direct = [int(word) for word in file.read().split()]
    except OSError:
        return []
    return [n for child in direct for n in (child, *_children(child))]


def rest(page: "Page", idle: bool = True, quiet: int = QUIET) -> None:
    """Wait until the page is painted."""
    page.wait_for_function(RESTED, arg=[quiet, IDLE if idle else ""], timeout=SLOW, polling=50)


def timed(
    visit: Visit, act: Callable[[], None], pid: int, until: str = "", answered: bool = True,
    quiet: int = QUIET,
) -> Seen:
    """Do one act of the reader and wait for what it paints.

    Args:
        act: presses or clicks; the stopwatch starts at its last press.
        pid: the server's process.
        until: a condition in JavaScript that must hold before the page can be done.
        answered: whether a run of the script must end before the page can be done.
        quiet: milliseconds without a change to wait for; they are not counted.
    """
    rest(visit.page, answered)
    visit.page.wait_for_timeout(250)  # what trails from the act before
    runs, cpu = visit.runs, cpu_of(pid)
    before = visit.page.evaluate("window.atlasWatch.bytes")
    act()
    for _ in range(SLOW // 20):
        if not answered or visit.runs > runs:
            break
        visit.page.wait_for_timeout(20)
    else:
        raise AssertionError("the act was not answered")
    if until:
        visit.page.wait_for_function(until, timeout=SLOW, polling=20)
    rest(visit.page, answered, quiet)
    visit.page.wait_for_timeout(30)
    act_at, painted, received = visit.page.evaluate(
        "[window.atlasWatch.act, window.atlasWatch.painted, window.atlasWatch.bytes]"
    )
    time.sleep(0.15)  # the server counts its last ticks
    return Seen((painted - act_at) / 1000, int(received - before), visit.runs - runs,
                cpu_of(pid) - cpu)


def landed(visit: Visit, address: str, pid: int, until: str = "", idle: bool = True) -> Seen:
    """Open an address in a new tab and wait for what is painted, from the navigation's start."""
    cpu = cpu_of(pid)
    visit.page.goto(address, wait_until="commit")
    if until:
        visit.page.wait_for_function(until, timeout=SLOW, polling=20)
    rest(visit.page, idle, quiet=600)
    painted, received = visit.page.evaluate(
        "[window.atlasWatch.painted, window.atlasWatch.bytes]"
    )
    return Seen(painted / 1000, int(received), visit.runs, cpu_of(pid) - cpu)
