"""A browser that is only an HTTP client: it keeps cookies and posts forms, and runs no scripts."""

import re

import anyio
import httpx

PASSWORD = "Correct1horse"  # noqa: S105 (of a made-up account)


class Browser:
    """Keeps cookies; posts forms with the token of the last page."""

    def __init__(self, portal: str) -> None:
        self.http = httpx.AsyncClient(base_url=portal, trust_env=False, timeout=20)
        self.token = ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        answer = await self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        if found := re.search(r'name="form_token" value="([0-9a-f]+)"', answer.text):
            self.token = found[1]
        return answer

    async def post(self, path: str, /, htmx: bool = False, **fields: str) -> httpx.Response:
        headers = {"HX-Request": "true"} if htmx else {}
        return await self.http.post(path, data={"form_token": self.token, **fields}, headers=headers)

    async def until(self, path: str, text: str, limit_s: float = 10) -> httpx.Response:
        """Ask for a page until it says the text."""
        with anyio.fail_after(limit_s):
            while True:
                answer = await self.get(path)
                if text in answer.text:
                    return answer
                await anyio.sleep(0.03)

    async def enter(self) -> None:
        """Make the administrator."""
        await self.get("/welcome")
        answer = await self.post("/welcome", name="ada", password=PASSWORD, again=PASSWORD)
        assert answer.status_code == 303, answer.text
        await self.get("/password")
