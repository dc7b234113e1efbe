"""Word lists behind the kinds of `atlas.vocabulary`: closed classes, registers, technical words.

A list is a name, a colon and lower-case words, going on where a line is indented. It is compared
with the lower-cased word of a token, unless its name is in `CASED`. Names are shown to readers.
"""

CASED = {"SQL keywords in capitals", "Python constants and self", "drama headings"}
"""Lists that are compared as they are written."""

CLOSED_CLASSES = """\
personal pronouns: i me we us you he him she her it they them one
possessives: my mine our ours your yours his her hers its their theirs thy thine whose own
archaic pronouns: thou thee thy thine ye thyself thereof therein hereof whereof
reflexive pronouns: myself yourself himself herself itself ourselves yourselves themselves oneself
    thyself selves self
object pronouns: me us him her them thee it you himself themselves
demonstratives: this that these those such here there yon yonder
question words: who whom whose which what when where why how whence whither wherefore whether
    whatever whoever whichever
articles and determiners: the a an this that these those each every either neither some any no all
    both another such its his their
quantities: all any both each every few less little many more most much none several some enough
    half multiple various certain fewer least single double
indefinite pronouns: someone somebody something anyone anybody anything everyone everybody
    everything nobody nothing none others another aught nought
prepositions: about above across after against along among around at before behind below beneath
    beside between beyond by down during except for from in inside into like near of off on onto out
    outside over past since through throughout till to toward towards under until unto up upon via
    with within without
prepositions of place: above across against along among around behind below beneath beside between
    beyond near over through toward towards under upon within
conjunctions: and but or nor so yet for if because although though while whereas unless until since
    when whenever where wherever lest as than that whether
sentence connectives: therefore thus hence however moreover furthermore otherwise instead also then
    still yet nevertheless consequently accordingly besides meanwhile wherefore likewise finally
auxiliaries: be is am are was were been being have has had having do does did done will would shall
    should can could may might must ought need dare hath doth shalt wilt
modal verbs: will would shall should can could may might must ought cannot shalt wilt
forms of be: be is am are was were been being art isn wasn aren
forms of have and do: have has had having do does did done doing hath hast doth dost didst hadst
archaic verb forms: hath doth shalt wilt art hast dost saith cometh goeth didst hadst wast wert
    canst wouldst shouldst thinkst knowest quoth spake begat sware smote
negations: no not never none nothing nor neither nobody without cannot non un nay
adverbs of time: now then again already always ever never often once soon still yet today tomorrow
    yesterday before after later early ago hitherto henceforth anon sometimes usually immediately
    currently previously
adverbs of place and direction: here there where away back down forth forward home hither thither in
    out near off over up above below around along together apart aside
adverbs of degree: very much more most so too quite rather almost nearly only even just well enough
    less least fully exactly
number words: zero one two three four five six seven eight nine ten eleven twelve twenty thirty
    forty fifty sixty seventy eighty ninety hundred thousand million dozen score
ordinals: first second third fourth fifth sixth seventh eighth ninth tenth last next final
days and months: monday tuesday wednesday thursday friday saturday sunday january february march
    april may june july august september october november december jan feb mar apr jun jul aug sep
    oct nov dec sabbath
interjections: o oh ah alas lo behold hark fie nay yea yes ay aye ho marry amen hail pray farewell
    welcome ha well
"""
"""Classes of grammar."""

REGISTERS = """\
biblical people: moses david israel jesus christ judah aaron abraham isaac jacob joseph solomon saul
    samuel paul peter john james pharaoh joshua elijah esau levi benjamin ephraim manasseh jeremiah
    isaiah ezekiel daniel adam eve noah satan jonathan absalom joab jud hezekiah
biblical places: israel jerusalem egypt zion babylon judah syria canaan jordan galilee bethlehem
    gilead moab edom assyria lebanon philistines samaria sodom gomorrah nineveh eden
names of God: god lord lord's jesus christ holy ghost almighty father saviour creator heaven spirit
    jehovah deity gods
religion: god lord holy priest priests altar sacrifice offering temple prophet prophets tabernacle
    covenant commandments gospel church heaven hell angel angels soul spirit sin sins pray prayer
    bless blessed sanctuary grace faith worship sabbath congregation disciples saints divine sacred
virtue: good righteous righteousness holy truth honest honour noble virtue faith faithful wise
    wisdom mercy merciful gentle pure grace peace upright worthy love brave patience charity
vice and harm: evil wicked wickedness sin sins vile foul guilt guilty villain traitor treason wrath
    iniquity abomination curse cursed fool foolish mad folly lust pride shame envy malice lie hate
drama headings: Enter Exit Exeunt Re SCENE ACT Scene Act Flourish Alarum Aside Attendants Lords
    Gentleman Servant Messenger First Second Third
roles in plays: duke king queen prince princess lord lady sir madam gentleman servant messenger
    clown nurse captain soldier fool knight earl countess page citizen watchman host lieutenant
names in plays: hamlet romeo juliet othello iago macbeth antony caesar brutus cassius cleopatra lear
    falstaff henry richard edward john percy york warwick gloucester troilus cressida timon titus
    rosalind orlando viola portia hal pompey
royalty and titles: king queen prince princess duke duchess earl lord lady sir knight baron count
    emperor majesty highness throne crown sovereign monarch royal noble master madam mistress
    captain governor ruler
kinship: father mother son sons daughter daughters brother brothers brethren sister sisters wife
    husband child children uncle aunt cousin nephew niece kinsman family parent parents widow bride
    babe heir seed
people: man men woman women boy girl child children people person persons friend friends fellow maid
    youth gentleman servant stranger enemy enemies neighbour folk host crowd
occupations and offices: priest judge soldier captain servant master shepherd prophet scribe king
    merchant doctor officer teacher writer author poet hacker programmer user administrator lawyer
    physician
body: hand hands head heart eye eyes ear ears face foot feet mouth tongue lips blood flesh bone
    bones body breast arm arms hair neck knee knees finger fingers skin tooth teeth nose brain belly
    throat breath back side bosom shoulder
body and soul: heart soul spirit mind body flesh blood breath life thought will conscience
nature: earth sky sun moon star stars sea seas water waters river wind rain storm fire cloud clouds
    mountain mountains hill valley field fields wood woods forest tree stone rock sand snow air
    light darkness thunder land wilderness desert
animals: lion sheep lamb horse horses ox oxen dog cat bird birds fish serpent wolf bear goat ass
    camel eagle dove beast beasts bull swine worm bee fly dragon cattle flock calf insect
plants: tree trees flower flowers leaf leaves fruit seed grass herb rose vine branch root plant
    plants shrub corn wheat olive cedar thorn blossom stem
taxonomy: genus family species plant plants flowers leaves shrub herb tree insect bird fish order
    native tropical perennial america
food and drink: bread wine meat milk honey oil corn salt fish fruit cake feast dinner supper drink
    eat food water cup flour butter cheese sugar
house and household: house home door gate wall walls room chamber bed table window roof floor chair
    lamp bowl vessel pot kitchen hall tent palace tower
war and weapons: war battle sword spear shield bow arrow arrows arms armour army armies host fight
    soldier soldiers camp siege blood victory enemy enemies slain conquer kill strike
death: death dead die died dying grave tomb kill killed slain slay murder corpse buried funeral
    mortal ghost
law and government: law laws court judge judgment justice statute statutes commandment power rule
    authority government right rights crime prison oath witness state senate counsel
trade and money: money gold silver price pay buy sell bought sold debt trade market merchant coin
    purse cost worth rich poor wealth treasure licence purchase
clothing: robe cloth clothes garment garments coat cloak crown ring hat shoe shoes gown veil linen
    mantle apparel
colours: red blue green black white brown yellow grey gray purple scarlet golden pale dark bright
metals and gems: gold silver brass iron bronze copper lead steel tin pearl diamond jewel stone
    stones precious
units of time: day days night nights hour hours minute minutes second seconds week weeks month
    months year years morning evening morrow age moment time times season date noon
places: city country town village land kingdom nation place world street house field court sea
    island state home gate garden camp wilderness
sea and ships: sea ship ships sail boat wave waves shore coast tide harbour ocean deep haven wreck
    mariner
emotions: love hate fear joy grief sorrow anger hope despair shame pride pity delight pleasure pain
    rage wrath mercy comfort care envy glad sad merry sweet desire
motion verbs: go goes went gone come comes came run ran walk walked move moved fly flee fled rise
    rose fall fell enter return follow followed pass passed turn depart departed bring send ride
    climb leave arrive
speech verbs: say says said speak spake spoke tell told ask asked answer answered call called cry
    cried swear pray praise command commanded promise declare reply talk sing preach saying speaking
thought and perception verbs: think thought know knew known see saw seen hear heard look looked feel
    felt believe remember forget find found understand perceive consider mean hope fear learn behold
giving and taking verbs: give gave given take took taken get got bring brought send sent receive
    received keep kept hold held put set lay laid bear offer leave left pay buy sell
past-tense verbs: came went said made took gave saw brought sent found left stood fell heard told
    knew spoke spake began became held kept led lay met put ran rose sat slew smote thought wrote
    answered called passed turned
bare verbs: be go come make take give get see know say tell let keep put bring find leave show use
    call think speak hear hold stand run live die love eat drink kill serve bear send lay pray
good-and-great adjectives: good great high mighty strong fair sweet noble holy gentle rich true wise
    new young bright dear happy worthy royal honest blessed
adjectives of size: great small large little big high low long short wide deep full empty huge broad
    thick thin tall
nationalities and languages: english french german latin greek hebrew roman jewish american british
    spanish italian russian chinese japanese indian scottish irish dutch european egyptian
nations and regions: england france rome greece egypt america europe asia africa india china spain
    scotland wales ireland states united north south east west
compass and direction: north south east west left right up down top bottom upper lower
nouns of abstraction: truth power grace honour glory nature reason fortune fame time death life love
    virtue mercy wisdom strength peace liberty beauty faith hope
"""
"""Fields of meaning and registers of prose."""

TECHNICAL = """\
Python keywords: def class return if elif else for while try except finally raise with as import
    from in is not and or lambda pass break continue yield global nonlocal del assert async await
    print
Python builtins and types: int str list dict tuple set float bool bytes object type len range print
    isinstance getattr setattr hasattr super sorted map filter zip open iter next min max sum abs
    repr enumerate property classmethod staticmethod bytearray frozenset complex decimal
Python constants and self: None True False self cls args kwargs NotImplemented
Python modules: os sys re json time datetime math random collections itertools functools logging
    threading socket subprocess struct string io path pickle urllib http email xml ctypes asyncio
    unittest argparse tkinter sqlite3 weakref contextlib types inspect
identifier abbreviations: str int len num idx obj func fn args arg kw kwargs var val attr cls msg
    err fp fd buf ptr src dst dest tmp temp cfg conf config env ctx cmd opt opts param params info
    init util utils ret res max min pos lib mod exc tb ns db pg ext prefix regex
SQL keywords in capitals: SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE INDEX
    VIEW DROP ALTER ADD COLUMN JOIN LEFT INNER OUTER ON AND OR NOT NULL DEFAULT PRIMARY KEY FOREIGN
    REFERENCES UNIQUE CHECK GROUP ORDER BY HAVING LIMIT OFFSET UNION ALL AS IS IN EXISTS BETWEEN
    LIKE CASE WHEN THEN ELSE END BEGIN COMMIT ROLLBACK TRIGGER PRAGMA EXPLAIN WITH RETURNING VACUUM
    ANALYZE ATTACH DISTINCT CAST INTEGER TEXT REAL BLOB GRANT REVOKE SCHEMA DATABASE FUNCTION SQL
    QUERY
SQL words: select insert update delete create table index where join query column row schema view
    trigger database transaction commit rollback primary key foreign constraint null default clause
    expression statement union group order limit pragma vacuum sql
SQL types: integer text real blob numeric boolean date timestamp varchar char bigint smallint double
    precision interval array json jsonb decimal float serial uuid bytea int character
database nouns: database table tables column columns row rows index indexes schema query transaction
    constraint key trigger view record records field cursor connection lock partition relation tuple
    role privileges tablespace catalog
database names: sqlite sqlite3 postgresql postgres postgre mysql sql pg libpq psql psycopg oracle
    fts5 ostgres ostgresql qlite wal
HTML tags: div span table tr td th tbody thead ul ol li dl dt dd h1 h2 h3 h4 br hr img code pre em
    strong tt body head html title form input script style link meta button section main nav
    blockquote
HTML attributes: href class id name src alt title style width height align border type value rel
    target colspan rowspan valign lang cellpadding cellspacing onclick nbsp amp lt gt quot
reStructuredText roles: func meth class mod attr exc data ref term const file envvar keyword option
    program pep rfc source doc samp obj literal command token dfn cmember ctype cfunc cmacro index
reStructuredText directives: versionadded versionchanged deprecated note warning seealso module
    function method class attribute exception describe code block sourcecode index toctree highlight
    productionlist opcode
file and path words: file files filename path directory dir folder read write open close stream
    buffer disk archive copy mode append seek tell name pathname extension symlink link mount
    permission temporary
input and output words: input output read write print stream stdin stdout stderr buffer pipe log
    format parse send recv receive load dump save close flush
function words of programs: function method argument arguments parameter parameters return returns
    call callable callback value values signature default keyword positional optional decorator
    generator lambda
object words of programs: object objects class classes instance instances attribute attributes type
    types subclass constructor property module package interface inheritance namespace method
    methods member members
data structures: list array dictionary dict set tuple string stack queue tree node map sequence heap
    buffer vector struct table record graph element elements item items
text and encoding words: string strings text character characters char encoding encode decode
    unicode utf ascii byte bytes codec escape line lines word newline whitespace token pattern
    regular expression format latin
number and mathematics words: number numbers integer integers float decimal digit digits sum zero
    value precision exponent sign signed unsigned binary hexadecimal fraction complex matrix maximum
    minimum product modulo equal negative positive infinity count
operators and comparison words: equal less greater compare match same different plus minus operator
    operators operand and or not than between equivalent
logic words: true false and or not if then else null none boolean condition test
network words: server client socket host port connection request response http https url ftp address
    protocol header network internet ssl tls email message proxy domain web browser
operating-system words: unix windows linux posix process thread system signal shell command kernel
    environment user group root platform memory lock fork daemon program machine host macos
concurrency words: thread threads process lock locks queue event wait timeout semaphore mutex
    coroutine task tasks async concurrent parallel worker pool shared
user-interface words: menu button window click display screen widget frame label dialog icon cursor
    select view page tab box color font width height mouse key text canvas image style
website navigation words: home about menu documentation download license support purchase search
    news index next prev contents timeline login close site
testing and error words: error errors test tests exception fail failed failure assert bug debug
    warning traceback check raise raised invalid bad unexpected missing
configuration words: option options setting settings config configuration default defaults parameter
    parameters environment variable variables flag flags enable disable enabled disabled value
    specify set
version and release words: version versions release released changed added removed deprecated
    changelog new old update upgrade support compatibility build install patch
verbs of documentation: is are returns return contains specifies provides creates sets uses allows
    defines describes means takes gives causes indicates represents requires supports implements
    calls raises see note accepts
third-person verbs: is has does returns contains uses means makes takes gives comes says goes calls
    allows provides sets causes requires works creates includes becomes appears
participles of documentation: used specified returned called created defined given set passed added
    provided supported raised required allowed described written stored changed named built executed
    based associated removed applied converted declared implemented
adjectives of documentation: optional default current same following new specific available valid
    possible different special single multiple empty additional particular appropriate existing
    original standard common simple similar equivalent
words of dictionaries: used relating pertaining someone something somebody genus family consisting
    resembling characterized person act state quality having made containing usually especially noun
    verb
words of the jargon file: hacker hackers hack jargon usenet unix computer programmer mit bug kluge
    lisp crufty flame net foo bar baz pdp mainframe
size and position words of programs: size length offset position start end begin index count width
    height limit range first last next previous level depth top bottom left right max min
"""
"""Words of programs, databases and their manuals."""


def word_lists() -> dict[str, frozenset[str]]:
    """All lists by name, as sets."""
    whole = (CLOSED_CLASSES + REGISTERS + TECHNICAL).replace("\n    ", " ")
    named = (line.split(": ", maxsplit=1) for line in whole.splitlines())
    return {name: frozenset(words.split()) for name, words in named}
