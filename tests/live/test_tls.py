"""Certificates of both kinds, tickets that nodes share, stapled OCSP, client certificates, HSTS."""
import ssl

from harness import *


def origin(**headers):
    o = Origin()
    o.on("/a", body=b"a", headers={"Cache-Control": "max-age=600", **headers})
    return o


def node_with(o, certificates, listen=(), **more):
    port = free_port()
    entry = {"address": f"127.0.0.1:{port}", "certificates": certificates, **dict(listen)}
    node = Node([o.url], config={"listen": [{"address": f"127.0.0.1:{free_port()}"}, entry], **more})
    node.tls_port = port
    return node


def pair(names, **more):
    certificate, key = authority().certificate(names, **more)
    return {"certificate": certificate, "key": key}


def chained(entry):
    """The same with the issuer behind the leaf."""
    path = entry["certificate"] + ".chain"
    with open(path, "w") as out, open(entry["certificate"]) as leaf, open(authority().pem) as issuer:
        out.write(leaf.read() + issuer.read())
    return dict(entry, certificate=path)


def shake(port, ciphers=None, version=None, session=None, context=None, sni="localhost"):
    context = context or tls_context(authority().pem, version=version)
    if ciphers:
        context.set_ciphers(ciphers)
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=sni, session=session)
    return context, sock


def test_ecdsa_and_rsa_for_the_same_names():
    o = origin()
    node = node_with(o, [pair(["localhost"]), pair(["other.example"]), pair(["localhost"], rsa=True)])
    for ciphers in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        _, sock = shake(node.tls_port, ciphers, ssl.TLSVersion.TLSv1_2)
        assert sock.cipher()[0] == ciphers
        assert sock.getpeercert()["subject"][0][0][1] == "localhost"
        sock.close()
    try:
        shake(node.tls_port, "ECDHE-RSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2, sni="other.example")
        raise AssertionError("other.example has no RSA certificate")
    except ssl.SSLError:
        pass
    assert node.https("/a").status == 200


def test_old_versions_and_weak_ciphers_are_refused():
    """RFC 9325: 1.2 and later, forward secrecy and AEAD only; whatever the client would agree to."""
    node = node_with(origin(), [pair(["localhost"]), pair(["localhost"], rsa=True)])

    def agrees(*words):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-servername", "localhost", *words], input="",
                              capture_output=True, text=True, timeout=30)
        return "Cipher is (NONE)" not in done.stdout and "Cipher is" in done.stdout

    weak = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
    assert agrees("-tls1_2", "-cipher", weak) and agrees("-tls1_3")
    assert not agrees("-tls1", "-cipher", weak) and not agrees("-tls1_1", "-cipher", weak)
    for cipher in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256",
                   "ECDHE-RSA-NULL-SHA", "AECDH-AES128-SHA"):
        assert not agrees("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"), cipher
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"):
        assert agrees("-tls1_2", "-cipher", cipher), cipher
    # Renegotiation, which would let one client make the server shake hands again and again, isn't there.
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-servername", "localhost", "-tls1_2"], input="R\n",
                          capture_output=True, text=True, timeout=30)
    asked, _, answer = done.stderr.partition("RENEGOTIATING")
    assert "verify return" in asked and answer and "verify return" not in answer, done.stderr


def test_reloads_under_load_drop_nobody():
    """New certificates under the same names again and again, while connections are kept and others are made."""
    files = pair(["localhost"])
    node = node_with(origin(), [files])
    over, wrong, count = threading.Event(), [], [0, 0]

    def keeps():
        with Conn(node.tls_port, tls=tls_context(authority().pem), sni="localhost") as c:
            while not over.is_set():
                c.request("/a")
                assert c.response().status == 200
                count[0] += 1

    def comes():
        while not over.is_set():
            assert node.https("/a").status == 200
            count[1] += 1

    def guarded(work):
        try:
            work()
        except Exception:
            wrong.append(traceback.format_exc())

    crowd = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in (keeps, keeps, comes, comes)]
    for t in crowd:
        t.start()
    for n in range(6):
        fresh = pair(["localhost"], rsa=n % 2 == 0)
        for kind in ("certificate", "key"):  # as renewal programs do
            shutil.copyfile(fresh[kind], files[kind] + ".new")
            os.rename(files[kind] + ".new", files[kind])
        before = list(count)
        node.process.signal(signal.SIGHUP)
        eventually("it was reloaded", lambda: node.metric("brink_reloads_total", outcome="ok") == n + 1)
        with open(fresh["certificate"]) as pem:
            expected = ssl.PEM_cert_to_DER_cert(pem.read())
        with Conn(node.tls_port, tls=tls_context(authority().pem), sni="localhost") as c:
            assert c.sock.getpeercert(True) == expected
        eventually("requests go on", lambda: count[0] > before[0] + 5 and count[1] > before[1] + 2)
    over.set()
    for t in crowd:
        t.join(30)
    assert not wrong, wrong[0]
    assert node.metric("brink_reloads_total", outcome="failed") == 0


def resumes(first, second, version):
    context, sock = shake(first, version=version)
    with sock:
        sock.sendall(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.recv(4096)  # a ticket of TLS 1.3 comes behind the handshake
        session = sock.session
    with shake(second, session=session, context=context)[1] as again:
        return again.session_reused


def test_nodes_with_one_secret_resume_each_others_sessions():
    o, folder = origin(), temp_dir("brink-ticket-")
    secret, other = os.path.join(folder, "secret"), os.path.join(folder, "other")
    for path, text in ((secret, "a ticket secret of some length\n"), (other, "another ticket secret, too\n")):
        with open(path, "w") as out:
            out.write(text)
        os.chmod(path, 0o600)
    certificates = [pair(["localhost"])]
    a, b = (node_with(o, certificates, tls={"ticket_secret_file": secret}, node=name) for name in ("edge-1", "edge-2"))
    c = node_with(o, certificates, tls={"ticket_secret_file": other}, node="edge-3")
    d = node_with(o, certificates, node="edge-4")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert resumes(a.tls_port, a.tls_port, version)
        assert resumes(a.tls_port, b.tls_port, version), "one secret, one key"
        assert not resumes(a.tls_port, c.tls_port, version)
        assert not resumes(a.tls_port, d.tls_port, version)
        assert resumes(d.tls_port, d.tls_port, version), "without a file there is one of the process"
    with open(other, "w") as out:
        out.write("another ticket secret, too\na ticket secret of some length\n")
    c.process.signal(signal.SIGHUP)
    eventually("the older secret is read, too", lambda: resumes(a.tls_port, c.tls_port, ssl.TLSVersion.TLSv1_3))
    d.process.signal(signal.SIGHUP)
    eventually("it was reloaded", lambda: d.metric("brink_reloads_total", outcome="ok") == 1)
    assert resumes(d.tls_port, d.tls_port, ssl.TLSVersion.TLSv1_3)


def ocsp_response(entry, path, days=1, revoked=False):
    ca = authority()
    serial = subprocess.run(["openssl", "x509", "-in", entry["certificate"], "-noout", "-serial"], check=True,
                            capture_output=True, text=True).stdout.strip().split("=")[1]
    index = path + ".index"
    with open(index, "w") as out:
        out.write(f"{'R' if revoked else 'V'}\t351231235959Z\t{'250101000000Z' if revoked else ''}\t{serial}\tunknown\t/CN=x\n")
    subprocess.run(["openssl", "ocsp", "-index", index, "-CA", ca.pem, "-rsigner", ca.pem, "-rkey", ca.key, "-issuer", ca.pem,
                    "-cert", entry["certificate"], "-ndays", str(days), "-respout", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return path


def stapled(port):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-status", "-CAfile",
                           authority().pem], input="", capture_output=True, text=True, timeout=30)
    return "OCSP Response Status: successful" in done.stdout and "Cert Status: good" in done.stdout


def test_stapled_ocsp():
    o, folder = origin(), temp_dir("brink-ocsp-")
    entry = chained(pair(["localhost"]))
    good = ocsp_response(entry, os.path.join(folder, "good.der"))
    node = node_with(o, [dict(entry, ocsp=good)])
    assert stapled(node.tls_port)
    plain = node_with(o, [entry], node="edge-2")
    assert not stapled(plain.tls_port)
    bad = os.path.join(folder, "bad.der")
    with open(bad, "wb") as out:
        out.write(b"rubbish")
    other = ocsp_response(chained(pair(["other.example"])), os.path.join(folder, "other.der"))
    gone = ocsp_response(entry, os.path.join(folder, "gone.der"), revoked=True)
    for path, word in ((bad, "DER"), (other, "not about this certificate"), (gone, "not good")):
        broken = Node([o.url], start=False, config={"listen": [
            {"address": f"127.0.0.1:{free_port()}", "certificates": [dict(entry, ocsp=path)]}]})
        broken.launch()
        assert broken.process.wait(20) == 1 and word in broken.process.log, broken.process.log
        broken.process.gone()


def test_client_certificates_for_clients_and_for_the_admin_api():
    o = origin()
    mine, key = authority().certificate(["operator"])
    node = node_with(o, [pair(["localhost"])], listen={"client_ca": authority().pem})
    with_it = tls_context(authority().pem)
    with_it.load_cert_chain(mine, key)
    assert fetch(node.tls_port, "/a", tls=with_it).status == 200
    stranger, stranger_key = type(authority())().certificate(["operator"])
    wrong = tls_context(authority().pem)
    wrong.load_cert_chain(stranger, stranger_key)
    for context in (tls_context(authority().pem), wrong):
        try:
            r = fetch(node.tls_port, "/a", tls=context)
        except (OSError, Incomplete):
            continue
        raise AssertionError(f"without a certificate by the authority: {r}")

    admin = free_port()
    server = pair(["localhost", "127.0.0.1"])
    closed = Node([o.url], start=False, config={"admin": {"address": f"127.0.0.1:{admin}", "certificates": [server],
                                                           "client_ca": authority().pem,
                                                           "tokens": [{"name": "t", "sha256": sha256("token")}]}})
    closed.launch()
    ctl = [program("brinkctl"), "check", "--admin", f"https://127.0.0.1:{admin}", "--ca", authority().pem]

    def call(*more):
        return subprocess.run([*ctl, *more], capture_output=True, text=True, timeout=30, env=dict(os.environ, **ENVIRONMENT))

    eventually("the operator is let in", lambda: call("--certificate", mine, "--key", key).returncode == 0)
    assert call().returncode == 3
    closed.stop()


def test_a_session_opens_no_door_that_asks_for_a_certificate():
    """Tickets are good wherever their secret is (CVE-2025-23419): one of a listener that anybody may use, or of one that asks for
    other authorities, is not resumed where a certificate is demanded. One of that listener itself is."""
    o, server = origin(), pair(["localhost"])
    other = type(authority())()
    other_mine, mine = other.certificate(["operator"]), authority().certificate(["operator"])
    ports = [free_port() for _ in range(3)]
    node = Node([o.url], config={"listen": [{"address": f"127.0.0.1:{free_port()}"}] + [
        {"address": f"127.0.0.1:{port}", "certificates": [server], **ca}
        for port, ca in zip(ports, ({}, {"client_ca": authority().pem}, {"client_ca": other.pem}))]})
    anybody, guarded, elsewhere = ports

    def asks(port, context, session=None):
        """(was the session resumed, a session to resume), or None if the request isn't answered."""
        try:
            with shake(port, context=context, session=session)[1] as sock:
                sock.sendall(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                    return None
                return sock.session_reused, sock.session
        except (OSError, ssl.SSLError):
            return None

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for first, known in ((anybody, None), (elsewhere, other_mine), (guarded, mine)):
            context = tls_context(authority().pem, version=version)
            if known:
                context.load_cert_chain(*known)
            _, session = asks(first, context)
            again = asks(guarded, context, session)
            assert again[0] if first == guarded else again is None, (version, first, again)
        assert asks(anybody, context, session) is not None
    assert node.process.alive


def test_hsts_on_https_only_and_not_over_the_origins_own():
    o = origin()
    o.on("/own", body=b"own", headers={"Cache-Control": "max-age=600", "Strict-Transport-Security": "max-age=1"})
    node = Node([o.url], site={"hsts": "365d"}, tls=True)
    assert node.https("/a")["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in node.get("/a")
    assert node.https("/own").all("strict-transport-security") == ["max-age=1"]
    with node.h2() as c:
        assert c.get("/a")["strict-transport-security"] == "max-age=31536000"


if __name__ == "__main__":
    main()
