"""The README is right: its packages are the list's, its first configuration runs, the files it names exist."""
from harness import *

with open(os.path.join(ROOT, "README.md")) as readme:
    TEXT = readme.read()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def test_packages():
    listed = subprocess.run([os.path.join(ROOT, "tools", "packages")], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    groups = {}
    for line in filter(None, listed):
        group, package = line.split()
        groups.setdefault(group, []).append(package)
    named = {m[1]: m[2].replace("`", "").replace(",", "").split() for m in re.finditer(r"^\| (build|run|test) \| (.+?) \|$", TEXT, re.M)}
    assert named == groups, f"tools/packages has {groups}, README.md has {named}"


def test_the_first_configuration():
    origin = Origin()
    origin.on("/", body=b"my site")
    origin.on("/static/app.css", body=b"css")
    (text,) = blocks("yaml")
    token = "the token of the example"
    http, admin = free_port(), free_port()
    for old, new in ((":8080", f":{http}"), (":9090", f":{admin}"), ("http://127.0.0.1:3000", origin.url), ("HASH-OF-THE-TOKEN", sha256(token))):
        assert old in text, old
        text = text.replace(old, new)
    node = Node(raw=text, start=False)
    node.port, node.admin_port = http, admin
    assert node.check()[0] == 0, node.check()[1]
    node.start()
    get = lambda path: node.get(path, host="www.example.com")
    assert get("/").body == b"my site" and get("/static/app.css").x_cache == "MISS" and get("/static/app.css").x_cache == "HIT"
    assert node.admin("/v1/purge", "POST", {"urls": ["http://www.example.com/static/app.css"]}, token=token).status == 202
    assert get("/static/app.css").x_cache == "MISS"


def test_files_it_names_exist():
    named = set(re.findall(r"`((?:edge|shield|purge|tests|configs|tools)/[A-Za-z0-9_./-]*)`", TEXT)) | set(re.findall(r"\]\(([A-Za-z][A-Za-z0-9_./-]*)\)", TEXT))
    assert len(named) > 15, named
    missing = [name for name in sorted(named) if not os.path.exists(os.path.join(ROOT, name))]
    assert not missing, missing


def test_shell_lines_are_of_this_interface():
    """Options of brinkctl and brinkd that the README shows are understood."""
    shown = "".join(blocks("sh"))
    help_ = subprocess.run([program("brinkctl"), "--help"], stdout=subprocess.PIPE).stdout.decode()
    for line in re.findall(r"brinkctl [^|;&#\n]*", shown):
        for option in re.findall(r"--[a-z-]+", line):
            assert option in help_, line
    assert re.search(r"brinkctl purge", shown) and re.search(r"tools/run", shown) and re.search(r"tools/test", shown)


if __name__ == "__main__":
    main()
