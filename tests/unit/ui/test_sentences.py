"""Every fact that Core records can be told in every language."""

import msgspec
import pytest

from nano.domain.catalogue import COMMANDS
from nano.domain.guest_commands import MADE, PLANS, STARTED
from nano.domain.image_commands import BUILD_PLAN, REGISTER_PLAN, UPLOAD_PLAN
from nano.domain.zone import ZONE_RULES
from nano.ui import sentences, vocabulary
from nano.ui.formats import Formats
from nano.ui.words import load_words

WORDS = load_words()
TAGS = sorted(str(kind.__struct_config__.tag) for kind in ZONE_RULES.event_types())


@pytest.mark.parametrize("language", sorted(WORDS))
@pytest.mark.parametrize("tag", TAGS)
def test_every_event_has_a_sentence(tag: str, language: str) -> None:
    words = WORDS[language]
    story = sentences.tell({"event": {"type": tag}}, words, Formats(words))
    assert story.text
    assert story.text != tag


def test_an_event_of_a_later_version_is_shown_by_its_type() -> None:
    words = WORDS["en"]
    assert sentences.tell({"event": {"type": "guest.teleported"}}, words, Formats(words)).text == "guest.teleported"


def test_how_long_a_guest_stood_still_is_said_in_every_language() -> None:
    told = {tag: sentences.step_detail("it stood still for 66 ms", words) for tag, words in WORDS.items()}
    assert len(set(told.values())) == len(told)
    assert all("66" in text for text in told.values())
    assert sentences.step_detail("it stood still for 6 <b>ms", WORDS["en"]) == "it stood still for 6 <b>ms"
    freed = {tag: sentences.step_detail("11.2 MiB given back", words) for tag, words in WORDS.items()}
    assert freed["en"] == "11.2 MiB given back"
    assert freed["zh_Hans"] == "归还 11.2 MiB"


def test_every_task_and_step_has_words() -> None:
    assert {entry.name for entry in COMMANDS if entry.work} <= set(vocabulary.TASKS)
    steps = {step for plan in (*PLANS.values(), REGISTER_PLAN, UPLOAD_PLAN, BUILD_PLAN) for step in plan}
    assert steps | {MADE, STARTED} <= set(vocabulary.STEPS)


def test_states_have_a_word_and_a_shape() -> None:
    assert set(vocabulary.STATES) == set(vocabulary.STATE_ICONS)


def test_a_reason_is_told_and_an_order_is_not_repeated() -> None:
    words = WORDS["en"]

    def tell(**data: str) -> str:
        return sentences.tell({"event": {"type": "guest.stopped", **data}}, words, Formats(words)).text

    assert tell(reason="the guest shut itself down") == "Stopped: the guest shut itself down"
    assert tell(reason="stop on order") == tell() == "Stopped"


def test_problems_keep_cores_words_in_english_and_are_translated_by_code() -> None:
    problem = {"code": "duplicate_name", "message": "A guest 'web' exists already.", "hint": "Choose another name."}
    assert sentences.problem_words(problem, WORDS["en"]) == (problem["message"], problem["hint"])
    assert sentences.problem_words(problem, WORDS["zh_Hans"])[0] == "此名称已被占用。"
    unheard = {"code": "never_heard_of", "message": "Odd.", "hint": ""}
    assert sentences.problem_words(unheard, WORDS["zh_Hans"]) == ("Odd.", "")
    assert sentences.problem_words(None, WORDS["en"]) == ("", "")


def test_core_and_cells_are_named_as_doers() -> None:
    assert [sentences.actor_word(who) for who in ("core", "cell/Cell_1", "ada")] == ["Core", "Cell_1", "ada"]
    assert sentences.cause_word("task/25b8999b-1", WORDS["en"]) == "task 25b8999b"
    assert sentences.cause_word("cell/Cell_1@8", WORDS["en"]) == "entry #8 of Cell_1's journal"
    assert sentences.cause_word("request/1", WORDS["en"]) == sentences.cause_word("", WORDS["en"]) == ""
    assert sentences.cause_url("task/25b8999b-1") == "/tasks/25b8999b-1"
    assert sentences.cause_url("cell/Cell_1@8") == "/cells/Cell_1?tab=history"


def test_facts_encode_as_core_sends_them() -> None:
    """The tags these tests go by are those of the wire."""
    assert all(isinstance(msgspec.json.encode(tag), bytes) for tag in TAGS)
    assert "guest.started" in TAGS
