"""The classes of all fragments; every colour is a variable that follows the browser's theme."""

from atlas import (
    decompose_markup,
    entry_markup,
    excerpts,
    histograms,
    inside_markup,
    linked,
    read_write_figures,
    stability_markup,
    strips,
    window_markup,
)
from atlas.theme import variables

CLASSES = """
.atl{font-family:var(--atl-sans);color:var(--atl-ink);font-size:13px;line-height:1.4;
 font-variant-ligatures:none}
.atl a{color:inherit;text-decoration:none}
.atl a:hover{text-decoration:underline;text-decoration-color:var(--atl-accent);
 text-underline-offset:2px}
.atl .mono,.atl .tok{font-family:var(--atl-mono);font-size:12px;white-space:pre}
.atl .dim{color:var(--atl-muted)}
.atl .num{font-family:var(--atl-mono);font-variant-numeric:tabular-nums;white-space:nowrap}
.atl-cap{font-family:var(--atl-serif);font-style:italic;font-size:15px;line-height:1.38;
 color:var(--atl-muted);
 max-width:74em}
.atl-cap b{font-style:normal;font-weight:600;color:var(--atl-ink)}
.atl-cap .hot{color:var(--atl-accent)}
.atl-brand{font-family:var(--atl-serif);font-size:19px;line-height:1.2;color:var(--atl-ink);
 white-space:nowrap;
 letter-spacing:-.005em}
.atl-brand i{color:var(--atl-accent)}
.atl-here{display:flex;gap:22px;align-items:baseline;flex-wrap:nowrap;overflow:hidden}
.atl-here div{white-space:nowrap}
.atl-here small,.atl-facts small{display:block;font-size:10.5px;letter-spacing:.05em;
 text-transform:uppercase;color:var(--atl-muted);font-family:var(--atl-sans);line-height:1.5}
.atl-here .num{font-size:12.5px}
.atl-head{display:flex;align-items:flex-end;gap:20px;border-bottom:1px solid var(--atl-rule);
 padding-bottom:10px}
.atl-head .name{font-family:var(--atl-serif);font-size:42px;line-height:1;letter-spacing:-.015em;
 white-space:nowrap;font-weight:400}
.atl-head .name i{font-size:21px;color:var(--atl-muted);letter-spacing:0;margin-right:8px}
.atl-head .name .tok{font-size:30px}
.atl-head .what{flex:1 1 auto;min-width:0}
.atl-head .what>div{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.atl-head .what .tok{font-size:13px}
.atl-head .what .kind{font-family:var(--atl-serif);font-style:italic;font-size:14.5px;
 color:var(--atl-muted);
 padding-bottom:1px}
.atl-facts{display:flex;gap:20px;flex:0 0 auto}
.atl-facts>div{text-align:right}
.atl-facts .num{font-size:13px}
.atl-heat{border-collapse:separate;border-spacing:1px;width:100%;table-layout:fixed;
 font-family:var(--atl-mono);font-size:11.5px;line-height:1.25}
.atl-heat th{font-weight:400;font-size:11px;text-align:left;color:var(--atl-muted);
 padding:0 4px 4px;
 border:0;border-bottom:2px solid transparent;white-space:nowrap}
.atl-heat th.chosen{color:var(--atl-ink);border-bottom-color:var(--atl-ink)}
.atl-heat th.born{color:var(--atl-accent)}
.atl-heat td{padding:3px 4px;border:0;overflow:hidden;text-overflow:ellipsis;white-space:pre;
 color:var(--atl-ink);background:color-mix(in srgb,var(--atl-ink) var(--a),transparent)}
.atl-heat td.stays{background:color-mix(in srgb,var(--atl-accent) var(--a),transparent)}
.atl-heat td.faint{color:var(--atl-muted);font-style:italic}
.atl-bars{display:grid;grid-template-columns:minmax(70px,max-content) 1fr max-content;
 column-gap:10px;row-gap:1px;align-items:center;font-size:12px}
.atl-bars .lab{font-family:var(--atl-mono);font-size:12px;white-space:pre;overflow:hidden;
 text-overflow:ellipsis;max-width:190px}
.atl-bars .val{font-family:var(--atl-mono);font-size:11.5px;text-align:right;
 color:var(--atl-muted)}
.atl-bars .track{height:11px;position:relative}
.atl-bars .track i{position:absolute;left:0;top:1px;bottom:1px;background:var(--atl-accent);
 opacity:.8}
.atl-bars .track.against i{background:var(--atl-counter)}
.atl-ledger{width:100%;border-collapse:collapse;table-layout:fixed;font-size:12.5px}
.atl-ledger td{padding:2px 8px 2px 0;border:0;height:22px;white-space:nowrap;overflow:hidden;
 text-overflow:ellipsis;color:var(--atl-ink);vertical-align:middle}
.atl-ledger tr.line td{border-top:1px solid var(--atl-rule)}
.atl-ledger tr.sum td{font-weight:600}
.atl-ledger .id{color:var(--atl-muted);font-size:12px}
.atl-ledger .lab{font-family:var(--atl-mono);font-size:12px;white-space:pre}
.atl-ledger .val{text-align:right;font-family:var(--atl-mono);font-size:12px;padding-right:12px}
.atl-ledger .bar{position:relative;padding:0}
.atl-ledger .bar i{position:absolute;top:4px;bottom:4px;min-width:1px}
.atl-ledger .bar u{position:absolute;top:-1px;bottom:-1px;width:1px;background:var(--atl-rule)}
.atl-note{border-left:2px solid var(--atl-rule);padding:2px 0 2px 12px;font-size:13px;
 line-height:1.5;
 max-width:80em}
.atl-note.bad{border-left-color:var(--atl-accent)}
.atl-note.good{border-left-color:var(--atl-counter)}
.atl-defs{display:grid;grid-template-columns:max-content 1fr;column-gap:18px;row-gap:5px;
 font-size:13px;line-height:1.45;max-width:86em}
.atl-defs .name{font-weight:600;white-space:nowrap}
.atl-defs .name.code{font-family:var(--atl-mono);font-weight:400;font-size:12px;padding-top:1px}
.atl-defs .means{overflow-wrap:anywhere}
.atl-asked{columns:2 32em;column-gap:44px;font-size:13px;line-height:1.45;max-width:92em;
 margin:0;padding-left:24px}
.atl-asked li{break-inside:avoid;margin-bottom:7px;padding-left:4px}
.atl .tok,.atl .lab{unicode-bidi:isolate}
[data-testid="stMain"] [data-testid="stMainBlockContainer"]{padding-top:1.1rem}
.st-key-nav{position:relative;z-index:999991;max-width:calc(100% - 3rem)}
.st-key-context{border-bottom:1px solid var(--atl-rule);padding-bottom:12px;margin-bottom:4px}
.atl-table{width:100%;border-collapse:collapse;font-size:12.5px}
.atl-table th{text-align:left;font-weight:400;color:var(--atl-muted);font-size:11.5px;
 padding:3px 14px 4px 0;border:0;border-bottom:1px solid var(--atl-rule);white-space:nowrap}
.atl-table td{padding:3px 14px 3px 0;border:0;border-bottom:1px solid var(--atl-grid);
 color:var(--atl-ink);
 vertical-align:top}
.atl-table .r{text-align:right}
.atl-prompt{font-family:var(--atl-mono);font-size:12.5px;line-height:1.9;word-break:break-word}
.atl-prompt span{padding:2px 0;border-bottom:1px solid var(--atl-rule);margin-right:1px;
 white-space:pre-wrap;unicode-bidi:isolate}
.atl-prompt span.at{background:color-mix(in srgb,var(--atl-accent) 16%,transparent);
 border-bottom:2px solid var(--atl-accent)}
.atl-prompt span.after{color:var(--atl-muted);opacity:.75}
.atl-multi{position:relative;margin:8px 0 18px 20px}
.atl-multi i{position:absolute;inset:0}
.atl-multi u{position:absolute;left:0;right:0;border-top:1px solid var(--atl-grid)}
.atl-multi s{position:absolute;text-decoration:none;font:400 10.5px var(--atl-sans);
 color:var(--atl-muted);white-space:nowrap}
.atl-instead{overflow:auto;max-height:440px;border-top:1px solid var(--atl-rule)}
.atl-instead caption{caption-side:top;text-align:left;padding:4px 0;font-family:var(--atl-serif);
 font-style:italic;font-size:14.5px;color:var(--atl-muted)}
.atl-instead thead th{position:sticky;top:0;background:var(--atl-paper)}
.atl-act{font:400 13px/1.4 var(--atl-sans);color:var(--atl-ink);background:transparent;
 border:1px solid var(--atl-rule);border-radius:2px;padding:3px 10px;margin:0 6px 0 0;
 cursor:pointer}
.atl-act:hover,.atl-act:focus-visible{border-color:var(--atl-accent)}
.atl-act.main{border-color:var(--atl-accent);color:var(--atl-accent)}
.atl-act kbd,.atl-sheet kbd{font:400 11.5px/1 var(--atl-mono);border:1px solid var(--atl-rule);
 border-radius:2px;padding:1px 5px;background:var(--atl-raised)}
.atl-sheet,.atl-tour{font:400 13.5px/1.45 var(--atl-sans);color:var(--atl-ink);
 background:var(--atl-paper);border:1px solid var(--atl-rule);border-radius:2px;
 box-shadow:0 6px 28px rgb(0 0 0 / .22)}
.atl-sheet{width:min(480px,calc(100vw - 24px));max-height:calc(100vh - 48px);overflow:auto;
 padding:16px 22px 18px}
.atl-sheet::backdrop{background:rgb(0 0 0 / .34)}
.atl-sheet h2{font:400 25px/1.1 var(--atl-serif);margin:0 0 6px}
.atl-sheet p,.atl-tour p{margin:0 0 10px;color:var(--atl-muted)}
.atl-sheet dl{display:grid;grid-template-columns:max-content 1fr;gap:5px 18px;margin:0 0 14px}
.atl-sheet dd,.atl-sheet dt{margin:0}
.atl-sheet .acts,.atl-tour .acts{display:flex;gap:6px;align-items:center;justify-content:flex-end}
.atl-tour{position:fixed;z-index:1000010;box-sizing:border-box;padding:12px 16px;
 border-top:2px solid var(--atl-accent);animation:atl-rise .25s ease-out}
.atl-tour b{display:block;font:500 18px/1.25 var(--atl-serif);margin-bottom:3px}
.atl-tour small{margin-right:auto;color:var(--atl-muted)}
.atl-ring{position:fixed;z-index:1000009;box-sizing:border-box;border:2px solid var(--atl-accent);
 border-radius:3px;pointer-events:none;transition:left .2s,top .2s,width .2s,height .2s}
.atl-ring[hidden]{display:none}
@keyframes atl-rise{from{opacity:0;transform:translateY(6px)}}
@media (max-width:900px){
 [data-testid="stHtml"]{overflow-x:auto;max-width:100%}
 .atl-heat{min-width:820px}
 .atl-ledger{min-width:420px}
}
@media (max-width:760px){
 [data-testid="stMain"] [data-testid="stMainBlockContainer"]{padding-left:.9rem;padding-right:.9rem}
 .st-key-nav{row-gap:2px}
 .st-key-context{row-gap:4px}
 .atl-head{flex-wrap:wrap;gap:6px 18px}
 .atl-head .what{flex-basis:100%;order:3}
 .atl-head .name{font-size:32px}
 .atl-head .name .tok{font-size:22px}
 .atl-facts,.atl-here{flex-wrap:wrap;gap:4px 18px}
 .atl-facts>div{text-align:left}
 .atl-bars .lab{max-width:120px}
 .atl-defs,.atl-defs[style]{column-gap:12px;grid-template-columns:minmax(70px,auto) 1fr !important}
 .atl-defs .name{white-space:normal}
}
@media (prefers-reduced-motion:reduce){.atl-tour{animation:none}.atl-ring{transition:none}}
"""


def stylesheet() -> str:
    """The style element of a page."""
    modules = (
        decompose_markup,
        strips, histograms, entry_markup, excerpts, read_write_figures, window_markup, linked,
        inside_markup, stability_markup,
    )
    classes = "".join((CLASSES, *(module.CLASSES for module in modules)))
    return f"<style>:root{{{variables()}}}{classes}</style>"
