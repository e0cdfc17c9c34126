"""The web page of a device: a form with a token, a session in a cookie; /settings only for who has logged in."""
import http.server
import secrets
import socket
import urllib.parse

FORM = """<html><title>Device login</title><body>{problem}<form method="post" action="/login">
<input type="hidden" name="token" value="{token}"><input name="user"><input type="password" name="secret">
<button name="go" value="in">Log in</button></form></body></html>"""
sessions = {}


class Page(http.server.BaseHTTPRequestHandler):
    def session(self):
        cookies = dict(part.strip().split("=", 1) for part in self.headers.get("Cookie", "").split(";") if "=" in part)
        return cookies.get("session", "")

    def answer(self, code, text="", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def form(self, problem=""):
        name, token = secrets.token_hex(16), secrets.token_hex(16)
        sessions[name] = token
        self.answer(200, FORM.format(problem=problem, token=token), Set_Cookie=f"session={name}")

    def do_GET(self):
        if self.path == "/settings" and sessions.get(self.session()) == "in":
            return self.answer(200, "<title>Settings</title>" + "<a href=/logout>leave</a>")
        if self.path == "/login":
            return self.form()
        if self.path == "/thanks":
            return self.answer(200, FORM.format(problem="", token="").replace("/login", "/thanks"))
        return self.answer(302, Location="/login")

    def do_POST(self):
        told = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True))
        if self.path == "/thanks":  # whoever writes what
            return self.answer(200, "<title>Thanks</title>")
        name = self.session()
        if not name or sessions.get(name) != told.get("token") or told.get("go") != "in":
            return self.form("The form is out of date.")
        with open("/etc/device-login") as file:
            user, secret = file.read().strip().split(":")
        if (told.get("user"), told.get("secret")) != (user, secret):
            return self.form("Wrong user or password.")
        fresh = secrets.token_hex(16)
        sessions[fresh] = "in"
        return self.answer(302, Location="/settings", Set_Cookie=f"session={fresh}")


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


Server(("::", 8080), Page).serve_forever()
