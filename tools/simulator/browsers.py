"""People at the portal: they make the first account, log in and out, change the password, look at pages and press buttons.

They see what a browser sees: answers with cookies. What FrontEnd has acknowledged must stand: a session it let in and a
password it took are in its journal before the answer leaves, the password lets in afterwards, and a task it names is in
Core's journal.
"""

from collections import Counter
from random import Random
from typing import Final

import anyio
import httpx

from nano.tools.simulator.world import World
from nano.ui.doorman import digest_of, form_token
from nano.ui.frontend import FrontEnd
from nano.ui.gate import SESSION_COOKIE, VISIT_COOKIE
from nano.ui.pages.guests import ACTIONS

NAME: Final = "ada"
PEOPLE: Final = 2
MEAN_S: Final = 15.0
SETTLED_S: Final = 60.0  # longer than a request can last that nobody waits for any more
PAGES: Final = ("/", "/guests", "/tasks", "/cells")
ACTOR: Final = f"portal/{NAME}:"  # how Core knows commands that come through the portal


class Browsers:
    def __init__(self, world: World) -> None:
        self.answers: Counter[str] = Counter()  # by what was done and the status of the answer
        self._world = world
        self._random = Random(f"{world.seed}/browsers")  # noqa: S311 - a simulation
        self._passwords = ["First-password1"]  # the newest last; more than one when it is not known which counts
        self._changes = 0
        self._settled_at = 0.0  # until then a change of the password may still be under way
        self._pressed = 0  # buttons that were answered with "done"

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(PEOPLE):
                tasks.start_soon(self._sit, _Browser(self._world, f"browser{number}"))

    async def look(self) -> None:
        """At rest: the password that was acknowledged last lets in, and every button's command is in Core's journal."""
        browser = _Browser(self._world, "last browser")
        for password in reversed(self._passwords):
            await self._log_in(browser, password)
            if browser.session:
                break
        else:
            self._world.report(f"frontend: at rest, the password does not let in: {dict(self.answers)}")
        facts = [fact for fact in self._world.core.audit.facts if ACTOR.encode() in fact]
        commands = {fact.partition(ACTOR.encode())[2].partition(b'"')[0] for fact in facts}
        if len(commands) < self._pressed:
            self._world.report(
                f"core: {self._pressed} commands of the portal were acknowledged, {len(commands)} are there"
            )

    async def _sit(self, browser: "_Browser") -> None:
        while self._world.trouble:
            await anyio.sleep(self._random.expovariate(1 / MEAN_S))
            try:
                await self._act(browser)
            except httpx.TransportError:
                self.answers["no answer"] += 1

    async def _act(self, browser: "_Browser") -> None:
        draw = self._random.random()
        if not browser.session:
            await self._log_in(browser, self._random.choice(self._passwords) if draw < 0.9 else "Wrong-password1")
        elif draw < 0.35:
            self._note("page", await browser.get(self._random.choice(PAGES)))
        elif draw < 0.75:
            await self._press(browser)
        elif draw < 0.85:
            await self._create(browser)
        elif draw < 0.93:
            await self._log_out(browser)
        else:
            await self._change_password(browser)

    # ---- what is done

    async def _log_in(self, browser: "_Browser", password: str) -> None:
        frontend = self._world.frontend.node
        if not isinstance(frontend, FrontEnd):
            return
        is_new, before = not frontend.office.accounts, (self._changes, len(self._passwords))
        path = "/welcome" if is_new else "/login"
        password = self._passwords[0] if is_new else password
        self._note("look", await browser.get(path))
        answer = await browser.post(path, name=NAME, password=password, again=password)
        self._note("first account" if is_new else "login", answer)
        if browser.session and digest_of(browser.session).encode() not in b"".join(self._world.frontend.audit.facts):
            self._world.report("frontend: a session was answered that is not in its journal")
        if before != (self._changes, len(self._passwords)) or anyio.current_time() < self._settled_at:
            return  # a change of the password is under way, or may be
        if browser.session:
            self._passwords = [password]
        elif answer.status_code == 401 and self._passwords == [password]:
            self._world.report("frontend: a password that it had acknowledged does not let in")
        elif answer.status_code == 401 and password in self._passwords:
            self._passwords.remove(password)

    async def _log_out(self, browser: "_Browser") -> None:
        digest = digest_of(browser.session)
        answer = await browser.post("/logout")
        self._note("logout", answer)
        frontend = self._world.frontend.node
        if answer.status_code == 303 and isinstance(frontend, FrontEnd) and frontend.office.session_of(digest):
            self._world.report("frontend: a session goes on after its end was answered")

    async def _change_password(self, browser: "_Browser") -> None:
        if anyio.current_time() < self._settled_at:
            return  # one at a time
        self._changes += 1
        current, fresh = self._passwords[-1], f"Password-{self._changes}"
        self._passwords.append(fresh)  # until it is known to be so, either may count
        self._settled_at = anyio.current_time() + SETTLED_S
        answer = await browser.post("/password", current=current, password=fresh, again=fresh)
        self._note("password", answer)
        if answer.headers.get("location") == "/password?changed":
            self._passwords, self._settled_at = [fresh], 0.0
        elif answer.status_code < 500:  # it was refused
            self._passwords.remove(fresh)
            self._settled_at = 0.0
        self._changes += 1

    async def _press(self, browser: "_Browser") -> None:
        frontend = self._world.frontend.node
        guests = frontend.mirror.all("guest") if isinstance(frontend, FrontEnd) else []
        if not guests:
            return
        guest = self._random.choice(sorted(guests, key=lambda row: str(row["id"])))
        if self._random.random() < 0.1:
            answer = await browser.post(f"/guests/{guest['id']}/delete", name=guest["name"], force="on")
        else:
            action = self._random.choice(list(ACTIONS))
            answer = await browser.post(f"/guests/{guest['id']}/{action}")
        self._note("button", answer)
        if answer.status_code == 204:
            self._pressed += 1

    async def _create(self, browser: "_Browser") -> None:
        name = f"p{self._random.randint(0, 9)}"
        form = {"memory": "128", "memory_unit": "MiB", "disk": "64", "disk_unit": "MiB"}
        answer = await browser.post("/guests/new", name=name, start="on", **form)
        self._note("create", answer)
        if answer.status_code == 303 and (task := answer.headers["location"].partition("/tasks/")[2]):
            self._pressed += 1
            if not any(f"task/{task}".encode() in fact for fact in self._world.core.audit.facts):
                self._world.report(f"core: the portal has named task {task}, which is not in the journal")

    def _note(self, what: str, answer: httpx.Response) -> None:
        self.answers[f"{what} {answer.status_code}"] += 1
        if answer.status_code == 500:
            self._world.report(f"frontend: {what} was answered with 500")


class _Browser:
    """Cookies, and what our pages send along."""

    def __init__(self, world: World, name: str) -> None:
        self.session = ""
        self._visit = ""
        self._client = httpx.AsyncClient(
            base_url="http://portal:5870", transport=world.carrier("browsers", world.frontend, "portal", name)
        )

    async def get(self, path: str) -> httpx.Response:
        return self._taken(await self._client.get(path, headers=self._headers()))

    async def post(self, path: str, **form: str) -> httpx.Response:
        token = {"x-form-token": form_token(self.session or self._visit)}
        htmx = {"hx-request": "true"} if path.startswith("/guests/") and path != "/guests/new" else {}
        headers = self._headers() | token | htmx
        return self._taken(await self._client.post(path, data=form, headers=headers))

    def _headers(self) -> dict[str, str]:
        return {"cookie": f"{SESSION_COOKIE}={self.session}; {VISIT_COOKIE}={self._visit}"}

    def _taken(self, answer: httpx.Response) -> httpx.Response:
        for text in answer.headers.get_list("set-cookie"):
            name, _, value = text.partition(";")[0].partition("=")
            if name == SESSION_COOKIE:
                self.session = value
            elif name == VISIT_COOKIE:
                self._visit = value
        self._client.cookies.clear()
        turned_away = answer.status_code == 401 or answer.headers.get("location", "").startswith("/login")
        if turned_away and answer.request.url.path != "/login":
            self.session = ""
        return answer
