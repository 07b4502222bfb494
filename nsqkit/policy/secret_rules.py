r"""Secret rules: the one table of what a secret looks like in a text, and how each kind is masked (ADR 0042).

Every pattern takes linear time, because texts come from messages and peers and this runs on the event loop: a
repeat is either bounded, or ends at the first character that it does not take.
"""

import base64
import re
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

MASK: Final = "[redacted]"

# What may consist of several words.
_PHRASE: Final = r"""(?:
    passw (?: or[dt] | d ) | pass [\ _-]? (?: word | phrase | code ) | pwd (?! \W{1,9} / )
    | seed [\ _-]? phrase | mnemonic
)"""
# Words that begin, end or are part of the name of a secret, such as `db_password` and `accessToken`.
_STRONG: Final = rf"""(?:
    {_PHRASE} | secret (?! ar ) | credential
    | token (?! i[sz] | s\w{{0,9}} \W{{1,5}} \d{{1,9}} \b ) | authori[sz]ation | cookie | session [_-]? id
    | sessid | [cx]srf | jwt
    | (?: api | access | private | secret | account | auth | encrypt (?: ion )? | signing | master | ssh | aes
    | hmac | shared | licen[cs]e ) [\ _-]? key
)"""
# Words that are secrets only where they are a whole part of a name, and are followed by `=` or are in quotes.
_WEAK: Final = "(?: pass | pw | auth | sig | signature | pin | otp | cvv2? | cvc2? | sid | session )"
# Ends of names that only describe a secret: `password_reset`, `token_count`.
_ABOUT: Final = (
    "(?! s? [_.-]? (?: reset | count | type | length | url | file | path | polic | expir | limit ) )"
)
_NAME_PATTERN: Final = re.compile(rf"(?ix) {_STRONG} {_ABOUT} | (?<! [a-z] ) {_WEAK} (?! [a-z] )")
_NAME_OF_NAME: Final = ("name", "key", "header")

_END: Final = r"(?: [\w.\[\]] | - (?! > ) ){0,40}+"  # also a path, as in `password.value` and `tokens[0]`
_NAME: Final = rf"{_STRONG} {_ABOUT} {_END}"
_WORD: Final = rf"(?: {_PHRASE} | secret )"
_FOR_WHOM: Final = r"\s{1,9} \(? (?: for | of ) \s{1,9} [^\s:=()]{1,64} \)?"
# JSON in JSON has backslashes before its quotes. Addresses and web pages write quotes in other ways.
_QUOTE: Final = r"""(?: \\{0,7} (?: "{3} | '{3} | ["'`] | u002[27] ) | %2[27] | &quot; | &\#3[49]; )"""
_QUOTED: Final = rf"[bru]? (?P<quote> {_QUOTE} ) [\s\S]*? (?<! \\ ) (?P=quote)"
# A comma, semicolon or `&` is part of a value unless a space or the next field follows.
_PLAIN: Final = rf"""(?:
    [^\s,;&}}] | [,;&] (?! \s | $ | (?: {_QUOTE} )? [\w.-]{{1,64}} (?: {_QUOTE} )? \s{{0,9}} [=:] )
)+"""
_LIST: Final = r"\[ [^\[\]]* \] | \{ [^{}]* \} | \( [^()]* \)"
_VALUE: Final = rf"(?: {_QUOTED} | {_QUOTE} [^\r\n]+ | {_LIST} | {_PLAIN} )"  # a quote without an end was cut
# Words up to the end of the line or of what is around them, or to the next `name=`.
_SEVERAL: Final = r"""(?! \[redacted ) [^\s"'`,;&|(){}\[\]\\<>]{1,64}
    (?: [\ \t]{1,9} (?! [\w.-]{1,64} \s{0,9} [=:] ) [^\s"',;&|)}\\]{1,64} ){1,24}"""
_BETWEEN: Final = rf"""(?: {_QUOTE} | [\])] ){{0,2}} \s{{0,99}}
    (?: => | -> | :=? | [!=]?= | <> | %3[ad] ) \s{{0,99}}"""
_AFTER_BEARER: Final = r"""(?! (?:
    tokens? | auth\w{0,20} | scheme | realm | header | error | is | was | has | of | in | and | or | not | for
    | the | required | missing | invalid | expired
) \b | \[redacted )"""
# Most texts have none of these, which is fast to find. The last ones are ends of names such as `accessKey`.
_NAME_HINTS: Final = (
    *(
        "passw",
        "pass w",
        "pass_w",
        "pass-w",
        "passc",
        "pass c",
        "pass_c",
        "pass-c",
        "phrase",
        "pwd",
        "secret",
    ),
    *("credential", "token", "authori", "cookie", "session", "sessid", "csrf", "xsrf", "jwt", "identified"),
    "mnemonic",
    *(" key", "_key", "-key", "ikey", "skey", "ekey", "tkey", "nkey", "gkey", "rkey", "hkey", "ckey", "dkey"),
)


class Rule(NamedTuple):
    """One kind of secret.

    Args:
        hints: Texts in lower case, one of which is in every text that the pattern matches; none for any text.
        pattern: What to replace; see :func:`compiled`.
        replacement: What to put there, as for :func:`re.sub`.
    """

    hints: tuple[str, ...]
    pattern: str
    replacement: str | Callable[[re.Match[str]], str]


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when the first text needs it: all of them would delay the start of each process."""
    return re.compile(pattern)


def is_secret_name(name: str) -> bool:
    """Return whether the value of a field of this name is a secret."""
    return _NAME_PATTERN.search(name) is not None


def names_a_secret(fields: dict[str, object]) -> bool:
    """Return whether an object is a secret's name and value, such as ``{"name": "token", "value": "x"}``."""
    names = (fields.get(each) for each in _NAME_OF_NAME)
    return "value" in fields and any(isinstance(each, str) and is_secret_name(each) for each in names)


def _whole(hints: str, pattern: str, mask: str = MASK, *, flags: str = "ix") -> Rule:
    """Return a rule that masks all of a match."""
    return Rule(tuple(hints.split()), f"(?{flags}) {pattern}", mask)


def _after(hints: str, key: str, value: str = _VALUE) -> Rule:
    """Return a rule that masks a value and leaves what is before it."""
    return _whole(hints, f"(?P<key> {key} ) {value}", rf"\g<key>{MASK}")


def _basic(match: re.Match[str]) -> str:
    """Mask basic credentials; "Basic authentication" does not decode to a name and a password."""
    try:
        decoded = base64.b64decode(match["value"] + "===")
    except ValueError:
        return match[0]
    return f"{match['key']}{MASK}" if b":" in decoded else match[0]


_PRIVATE_KEYS: Final = (
    _whole(
        "begin",
        r"""-{4,5} \ ? BEGIN [A-Z0-9\ ]{0,40} PRIVATE\ KEY (?: \ BLOCK )? \ ? -{4,5} [\s\S]*?
        (?: -{4,5} \ ? END [A-Z0-9\ ]{0,60} -{4,5} | \Z )""",
    ),
    _after("private-lines", r"Private-Lines: \s{0,9} \d{1,9}", r"[\s\S]+"),  # PuTTY
)
_NAMED: Final = (
    _after(  # headers whose value is the rest of the line
        "authori cookie",
        rf"""(?: authori[sz]ation | cookie ) (?: {_QUOTE} )? \s{{0,99}} (?: : | =>? ) \s{{0,99}}
        (?: [bru]? {_QUOTE} )?""",
        r"""(?! [\[{(] ) [^\s"'\\}] (?: [^"'\\\r\n}] | (?<= = ) " [^"\r\n]{0,999} " )*""",
    ),
    _after(  # "X-Api-Key: several words"
        "",
        rf"(?<! \w ) {_QUOTE} [\w-]{{0,40}}? {_NAME} \s{{0,9}} : \s{{0,9}}",
        r"""(?! \s | \[redacted ) [^"'`\\\r\n]+ (?= ["'`] )""",
    ),
    _after(  # password=several words
        "pass phrase pwd mnemonic",
        rf"{_PHRASE} {_ABOUT} {_END} (?: {_FOR_WHOM} )? {_BETWEEN}",
        _SEVERAL,
    ),
    _after(  # {"name": "password", "value": "x"}
        "value",
        rf"{_STRONG} {_END} {_QUOTE} \s{{0,9}} , \s{{0,9}} {_QUOTE} value {_QUOTE} \s{{0,9}} : \s{{0,9}}",
    ),
    _after("value", rf"""{_STRONG} {_END} ["']? \s{{1,9}} value \s{{0,9}} = \s{{0,9}}"""),  # XML attributes
    _after(
        "",
        rf"{_NAME} (?: \s{{1,9}} (?: is | was ) | {_FOR_WHOM} )? {_BETWEEN}",
        rf"(?: (?: bearer | basic ) \s{{1,99}} )? {_VALUE}",
    ),
    _after(  # ("password", "x")
        "",
        rf"""\( [bru]? ["'] [\w-]{{0,40}}? {_STRONG} {_END} ["'] , \s{{0,9}}""",
        rf"{_QUOTED} (?= \) )",
    ),
    _after("", rf"{_NAME} \( \s{{0,9}}", _QUOTED),  # setPassword("x")
    _after(
        "< &lt;",
        rf"(?: < | &lt; ) [\w:-]{{0,40}}? {_STRONG} {_END} [^<>]{{0,200}}? (?: > | &gt; )",
        r"(?: <!\[CDATA\[ [\s\S]*? (?: \]\]> | \Z ) | (?: (?! &lt; ) [^<] )+ )",
    ),
    _after("values", rf"{_STRONG} [^()]{{0,400}} \) \s{{0,9}} VALUES \s{{0,9}} \(", r"[^()]* (?= \) )"),
)
_IN_WORDS: Final = (
    _after(  # wrong password "x y"
        "pass phrase pwd mnemonic secret identified",
        rf"(?: {_WORD} | identified\ by ) \s{{1,9}} (?: (?: is | was | of | like ) \s{{1,9}} )?",
        _QUOTED,
    ),
    _after(  # the passphrase was x1yz
        "pass phrase pwd mnemonic secret token key",
        rf"""(?: {_WORD} | token | (?: api | access ) [\ _-]? key ) \s{{1,9}}
        (?: (?: for | of ) \s{{1,9}} [^\s:]{{1,64}} \s{{0,9}} )? (?: (?: is | was | : ) \s{{1,9}} )?""",
        r"""(?= [^\s\d]{0,40} \d ) (?= [^\sa-z]{0,40} [a-z] ) [^\s"',;]{6,}""",
    ),
)
_WEAKLY_NAMED: Final = (
    _after(
        "pass pw auth sig pin otp cv sid session",
        rf"""(?<! [a-z] ) {_WEAK} (?: [_-] \w{{0,20}} )?
        (?: \s{{0,9}} ==? \s{{0,9}} | {_QUOTE} \]? {_BETWEEN} )""",
    ),
    _after(
        "code pin otp cv auth",
        r"""(?<! [a-z] ) (?: (?: pin | security | verification | recovery | one-time | [m2]fa ) [\ _-] code
        | passcode | pin | otp | cvv2? | cvc2? | auth ) (?: \s{1,9} | \s{0,9} [:=] \s{0,9} )""",
        r"(?= [a-z-]{0,40} \d ) [\w-]{3,64} \b",
    ),
    _after("auth(", r"auth \( [^()]{1,64} , \s{0,9}", rf"{_QUOTED} (?= \) )"),  # BasicAuth("bob", "x")
)
_COMMAND_LINES: Final = (
    _after(
        "--",
        rf"(?<! \S ) -- [\w-]{{0,40}}? (?: {_STRONG} {_ABOUT} | pass ) {_END} \s{{1,9}}",
        rf"(?! - ) {_VALUE}",
    ),
    _after(
        "-p",
        r"(?<! \S ) -p (?: \s{1,9} | = )",
        rf"(?! [-/.~] | [\d:.]{{1,40}} (?: / | \s | $ ) ) {_VALUE}",  # a folder, a port
    ),
    _after(
        "mysql mariadb sshpass redis-cli ldap",
        r"\b (?: mysql | mariadb | sshpass | redis-cli | ldap\w{1,9} ) [^\r\n]{0,200}? \s -[paw] \s?",
    ),
    _after(
        "-u --user",
        r"""(?<! \S ) (?: -u \ ? | --user [\ =] ) ["'] [^\s:"']{1,64} :""",
        r"""[^"'\r\n]+""",
    ),
    _after(
        "-u --user",
        r"""(?<! \S ) (?: -u \ ? | --user [\ =] ) [^\s:"']{1,64} :""",
        r"""(?! \d{1,9} (?: \s | $ ) ) [^\s"']+""",
    ),
    _after("-pass", r"-pass (?: in | out )? \s{1,9} pass:", r"\S+"),  # openssl
    _after("login", r"\b login \s{1,9} \S{1,64} \s{1,9} password \s{1,9}", r"\S+"),  # .netrc
)
_TOKENS: Final = (
    _after(
        "bearer",
        r"""bearer (?: \s{1,9} | \s{0,9} [:=] \s{0,9} ) ["']?""",
        rf"""{_AFTER_BEARER} [^\s"',;]+""",
    ),
    Rule(
        ("basic",),
        r"(?ix) (?P<key> \b basic \s{1,9} ) (?P<value> [a-z0-9+/]{4,2000} ) ={0,2}",
        _basic,
    ),
    _whole("eyj", r"\b eyJ [\w-]{6,} \. [\w-]+ (?: \. [\w-]* ){0,3}"),  # JSON web tokens
    _whole("akia asia abia acca", r"\b (?: AKIA | ASIA | ABIA | ACCA ) [A-Z0-9]{16}", flags="x"),
    _whole(  # GitHub, GitLab, Slack, Stripe, Google, OpenAI, npm, PyPI, SendGrid, Vault, Docker, Shopify, …
        "ghp_ gho_ ghu_ ghs_ ghr_ _pat_ gl xox xapp- _live_ _test_ whsec_ aiza ya29. gocspx- sk- npm_ pypi- "
        "sg. hvs. hvb. shpat_ shpss_ hf_ dop_v1_ lin_api_ figd_ ntn_ dapi key- nrak- age-secret- atatt "
        "xkeysib- sq0 pmak-",
        r"""\b (?: (?: gh[pousr]_ | github_pat_ | dckr_pat_ | shpat_ | shpss_ | dop_v1_ | whsec_
        | [rsp]k_live_ | [rsp]k_test_ | npm_ | hf_ | lin_api_ | figd_ | ntn_ ) \w{8,255}
        | (?: gl[a-z]{2,5}- | (?: xoxe\. )? xox[a-z]- | xapp- | GOCSPX-
        | ya29\. | pypi- | hv[sb]\. | NRAK- | AGE-SECRET-KEY-1 | ATATT | xkeysib- | sq0[a-z]{3}- | PMAK- )
        [\w-]{12,255} | (?: AIza | sk- ) [\w-]{20,255} | (?: dapi | key- ) [0-9a-f]{32}
        | SG\. [\w-]{10,255} \. [\w-]{10,255} )""",
        flags="x",
    ),
    _after(
        "hooks.slack.com webhook",
        r"""(?: hooks\.slack\.com/services | discord\w{0,3}\.com/api/webhooks/\d{1,20}
        | office\.com/webhook ) /""",
        r"""[^\s"']+""",
    ),
    _after("bot", r"\b bot", r"\d{6,12} : [\w-]{30,40}"),  # Telegram
    _after("response=", r"""\b response= ["']?""", r"[0-9a-f]{32,128}"),  # digests
    _whole("$", r"(?<! \w ) \$ (?: 2[abxy] | [156y] | argon2\w{1,2} | scrypt ) \$ [^\s\"',;]{16,500}"),
)
_ADDRESSES: Final = (
    _whole(  # a port follows `:` too, but not a password with `/` in it
        "://",
        r""":// [^\s/@:]{0,100} : (?! \d{1,5} (?: [/?\#\s,] | $ ) )
        [^\s@"'<>]{1,200} @ (?: [^\s/@"'<>?]{0,99} @ )?""",
        f"://{MASK}@",
    ),
    _whole("://", r":// [^/\s@]+ @", f"://{MASK}@"),
    _after("thin:", r"thin: [\w.]{1,64} /", r"[^\s@]{1,200} (?= @ )"),  # Oracle
    _after(
        "@",
        r"(?<! [\w.] ) [\w.+-]{1,64} :",
        r"""(?! // | \[redacted ) [^\s/:@"']{1,100} (?= @ (?! sha\d ) [\w(-] )""",
    ),
)
_PERSONAL: Final = (
    _whole("@", r"[\w.+-]{1,64} @ [\w-]{1,99} (?: \. [\w-]{1,99} )+"),
    _whole(  # numbers of cards; the groups of a UUID are none
        "0 1 2 3 4 5 6 7 8 9",
        r"(?<! \w ) (?<! [0-9a-f]{4}- ) \d (?: [\ -]? \d ){12,18} (?! \w | -[0-9a-f]{4} )",
    ),
)
GROUPS: Final = (
    ((), _PRIVATE_KEYS),
    (_NAME_HINTS, (*_NAMED, *_IN_WORDS)),
    ((), (*_WEAKLY_NAMED, *_COMMAND_LINES, *_TOKENS, *_ADDRESSES, *_PERSONAL)),
)
"""The rules in the order in which they are applied, in groups; each group has hints for all of its rules."""
