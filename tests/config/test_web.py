"""The section ``[web]``: what it comes to, and what is wrong with it."""

import pytest

from agentd.config import Listener, core
from agentd.config.source import read_one
from agentd.routes import Scope

HASH = "$2b$10$" + "a" * 53


@pytest.fixture
def web(tmp_path):
    """Returns the settings of the section, and what is wrong with it, without the file's name."""

    def made(text):
        file = tmp_path / "agentd.toml"
        file.write_text(f"[web]\n{text}\n")
        found = core(read_one(file))
        return found.web, [str(problem).replace(f"{file}:", "") for problem in found.problems]

    return made


def test_all_of_it(web):
    """Every option together is right, and comes to what it says."""
    settings, problems = web(f"""
        listen = ["127.0.0.1:1", {{ address = ":2", scopes = ["metrics:read"], anonymous = [], tls = false }}]
        route_prefix = "/agentd/v1.0"
        trusted_proxies = ["10.0.0.0/8", "::1"]
        allowed_hosts = ["robot-7.lan", "*.Example.org", "localhost"]
        cors_origins = ["https://grafana.lan", "http://localhost:3000"]
        [web.tls]
        cert_file = "/c"
        key_file = "/k"
        client_ca_file = "/ca"
        client_auth_type = "RequireAndVerifyClientCert"
        client_allowed_sans = ["prometheus.lan"]
        min_version = "TLS13"
        cipher_suites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        [web.basic_auth.users]
        prometheus = "{HASH}"
        maria = "{HASH.replace("$2b", "$2y")}"
        [web.basic_auth.scopes]
        maria = ["admin"]
    """)
    assert problems == []
    assert settings.listeners() == [
        Listener(address="127.0.0.1:1"),
        Listener(address=":2", scopes=[Scope.METRICS_READ], anonymous=[], tls=False),
    ]
    assert HASH not in repr(settings)


def test_a_hash_from_a_file(web, tmp_path):
    """A user's hash may come from a file, such as systemd makes of a credential."""
    (tmp_path / "maria").write_text(f"{HASH}\n")
    settings, problems = web('basic_auth.users.maria = { file = "maria" }')
    assert (problems, settings.basic_auth.users["maria"].reveal()) == ([], HASH)


TLS = 'tls = { cert_file = "/c", key_file = "/k", '


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('listen = [{ address = "x" }]', "2: web.listen[0]: expected HOST:PORT"),
        ('listen = [":1", { address = ":1" }]', "2: web.listen[1]: this address is there twice"),
        ('listen = [{ address = ":1", tls = true }]', "2: web.listen[0]: tls = true takes a certificate"),
        ("listen = [{ scopes = [] }]", "2: web.listen[0].address: required"),
        ('listen = [{ address = ":1", scopes = ["all"] }]', "2: web.listen[0].scopes[0]: expected one of"),
        ("listen = [5]", "2: web.listen[0]: expected a string or table; found 5"),
        ('tls = { cert_file = "/c" }', "2: web.tls.key_file: required"),
        (TLS + 'client_auth_type = "RequestClientCert" }', "that nobody verifies, which Python's TLS cannot"),
        (TLS + 'client_auth_type = "RequireAnyClientCert" }', "that nobody verifies, which Python's TLS cannot"),
        (TLS + 'client_auth_type = "RequireAndVerifyClientCert" }', "takes client_ca_file, by which it verifies"),
        (TLS + 'client_ca_file = "/ca" }', "2: web.tls.client_ca_file: it verifies nobody"),
        (TLS + 'client_allowed_sans = ["x"] }', "names are looked at in certificates that are verified"),
        (TLS + 'min_version = "TLS11" }', '2: web.tls.min_version: expected one of "TLS12", "TLS13"'),
        (TLS + 'cipher_suites = ["TLS_AES_128_GCM_SHA256"] }', "belongs to TLS 1.3, all of whose suites are strong"),
        (TLS + 'cipher_suites = ["TLS_RSA_WITH_AES_128_CBC_SHA"] }', "is weak, or not known"),
        (TLS + 'cipher_suites = ["ECDHE-RSA-AES128-SHA"] }', "expected the name that IANA gives a suite"),
        ('basic_auth.users.p = "secret"', "2: web.basic_auth.users.p: expected a bcrypt hash"),
        (
            f'basic_auth.users.p = "{HASH.replace("10", "31")}"',
            "of a cost from 4 to 16; found one of 31",
        ),
        (f'basic_auth.users."a:b" = "{HASH}"', 'expected a name of printable characters without ":"'),
        (
            f'basic_auth.users.maria = "{HASH}"\nbasic_auth.scopes.mara = ["admin"]',
            'Did you mean "maria"?',
        ),
        ('route_prefix = "agentd/"', '2: web.route_prefix: expected "/" and a name'),
        ('route_prefix = "/a/../b"', '2: web.route_prefix: expected "/" and a name'),
        ('trusted_proxies = ["10.0.0.1/8"]', "2: web.trusted_proxies[0]: expected a network or an address"),
        ('allowed_hosts = ["a.lan:80"]', "2: web.allowed_hosts[0]: expected a name without a port"),
        ('cors_origins = ["*"]', "2: web.cors_origins[0]: expected https://HOST, without a path"),
        ('cors_origins = ["https://a.lan/"]', "2: web.cors_origins[0]: expected https://HOST, without a path"),
    ],
)
def test_what_is_wrong(web, text, said):
    """Each mistake is one line, with its place and what would be right, and no hash in it."""
    _, problems = web(text)
    [problem] = problems
    assert said in problem
    assert HASH not in problem
