"""Counting tokens where no provider does: exactly by the bundled vocabularies, closely by factors for others."""

import asyncio
import time

import pytest

from providers.adapters.fake import FakeAdapter, Script
from providers.estimate import TOKENS_PER_MESSAGE, TOKENS_TO_OPEN, count_usage
from providers.pipeline.attempt import Attempt
from providers.types import (
    AnswerChoice,
    ChatAnswer,
    ChatRequest,
    EmbeddingRequest,
    Message,
    Started,
    TextDelta,
    TextPart,
    ToolCall,
    Usage,
)
from providers.vocabularies import (
    CHUNK_CHARS,
    CL100K,
    O200K,
    SMOLLM_2,
    UNKNOWN,
    VOCABULARIES,
    WRITTEN_IN,
    count_tokens,
    vocabulary_of,
    written_in,
)
from tests.providers.conftest import candidate, job

pytestmark = pytest.mark.no_database

# Known counts, as OpenAI's own tokenizer gives them for o200k_base and cl100k_base.
KNOWN = {
    "": (0, 0),
    "hello world": (2, 2),
    "Hello! How can I assist you today?": (9, 9),
    "tiktoken is great!": (6, 6),
    "antidisestablishmentarianism": (6, 6),
    "2 + 2 = 4": (7, 7),
    "お誕生日おめでとう": (8, 9),
    "1234567890": (4, 4),
    "Привет, мир!": (5, 7),
    "<|endoftext|>": (7, 7),
}

# What the models' own vocabularies make of these texts (bench/tokens.py says how that is told).
PROSE = (
    "A gateway that counts what it forwards can say what an answer cost, even if the connection broke halfway. The provider "
    "counts too, but tells its count only at the end, and by then nobody may be listening. What is left is the text itself, "
    "and the question of how many tokens the model needed to write it. For some families that can be answered exactly."
)


GERMAN = "Die Rechnung wird am Ende des Monats erstellt, und sie ist nicht mehr zu ändern. " * 8
RUSSIAN = "Счёт выставляется в конце месяца и больше не меняется. " * 8
CHINESE = "发票在月底开具，此后不能再更改。" * 8


@pytest.mark.parametrize("text", KNOWN)
def test_texts_count_as_the_bundled_vocabularies_say(text: str) -> None:
    assert (count_tokens([text], O200K), count_tokens([text], CL100K)) == KNOWN[text]


@pytest.mark.parametrize(
    ("model", "name", "exact"),
    [
        ("gpt-4o-mini", "o200k_base", True),
        ("openai/gpt-4.1-nano", "o200k_base", True),
        ("gpt-5.2", "o200k_base", True),
        ("o3-mini", "o200k_base", True),
        ("openai/gpt-oss-120b", "o200k_base", True),
        ("gpt-4-turbo", "cl100k_base", True),
        ("GPT-3.5-turbo-0125", "cl100k_base", True),
        ("text-embedding-3-small", "cl100k_base", True),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "o200k_base", False),
        ("claude-sonnet-4-5", "o200k_base", False),
        ("what-nobody-knows", "o200k_base", False),
    ],
)
def test_a_models_vocabulary_is_found_by_its_name(model: str, name: str, exact: bool) -> None:
    assert (vocabulary_of(model).name, vocabulary_of(model).exact) == (name, exact)


def test_every_family_says_what_it_makes_of_everything() -> None:
    for pattern, vocabulary in VOCABULARIES.items():
        assert vocabulary.exact or set(vocabulary.factors or ()) == set(WRITTEN_IN), pattern


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PROSE, "english"),
        ("def total(lines):\n    return sum(line['nano'] for line in lines if line)\n", "english"),
        ("La facture est établie à la fin du mois et ne peut plus être modifiée.", "latin"),
        ("Die Rechnung für den Monat wird am Ende erstellt, und sie ist nicht mehr zu ändern.", "german"),
        ("De factuur wordt aan het einde van de maand gemaakt en is daarna niet te wijzigen.", "dutch"),
        ("La fattura che si emette alla fine del mese non è più modificabile.", "italian"),
        ("Fakturan skrivs i slutet av månaden och går sedan inte att ändra.", "nordic"),
        ("Lasku tehdään kuukauden lopussa, eikä sitä enää voi myöhemmin muuttaa.", "finnish"),
        ("Faktura jest wystawiana na koniec miesiąca i później się jej nie zmienia.", "polish"),
        ("Faktura se vystavuje na konci měsíce a později ji už není možné změnit, ani opravit příjemce.", "czech"),
        (
            "A számla a hónap végén készül, és később nem változik; a hibásat érvénytelenítjük, ő pedig újat kap.",
            "hungarian",
        ),
        ("Factura se face la sfârșitul lunii și nu mai poate fi schimbată după aceea.", "romanian"),
        ("Hóa đơn được lập vào cuối tháng và sau đó không thể thay đổi được nữa.", "vietnamese"),
        ("Fatura ay sonunda düzenlenir ve artık değiştirilemez; yanlışsa iptal edilir.", "turkish"),
        ("Счёт выставляется в конце месяца и больше не меняется.", "cyrillic"),
        ("Рахунок виставляється наприкінці місяця і більше не змінюється її силами.", "ukrainian"),
        ("发票在月底开具，此后不能再更改。", "han"),
        ("請求書在月底開出，之後就不能再更改，這個月的會在下個月寄出。", "traditional"),
        ("請求書は月末に作成され、その後は変更できません。", "kana"),
        ("청구서는 월말에 작성되며 이후에는 변경할 수 없습니다.", "hangul"),
        ("تُصدر الفاتورة في نهاية الشهر ولا يمكن تغييرها بعد ذلك.", "arabic"),
        ("صورتحساب در پایان ماه صادر می‌شود و دیگر تغییر نمی‌کند.", "persian"),
        ("बिल महीने के अंत में बनता है और फिर बदला नहीं जा सकता।", "devanagari"),
        ("12345 + 678 = ?", "english"),
    ],
)
def test_what_a_text_is_written_in_is_told_by_its_letters(text: str, kind: str) -> None:
    tokens = written_in(text)
    assert max(tokens, key=lambda name: tokens[name]) == kind


def test_a_vocabulary_with_digits_apart_counts_each() -> None:
    assert count_tokens(["123456789012"], SMOLLM_2) - count_tokens(["123456789012"], UNKNOWN) >= 8


@pytest.mark.parametrize(
    ("model", "text", "tokens"),
    [
        ("gemini-2.5-pro", GERMAN, 137),
        ("gemini-2.5-pro", RUSSIAN, 113),
        ("google/gemma-3-27b-it", RUSSIAN, 113),
        ("command-r-plus", GERMAN, 153),
        ("command-a-03-2025", CHINESE, 96),
    ],
)
def test_scaled_families_are_near_their_own_vocabularies(model: str, text: str, tokens: int) -> None:
    """The numbers are those of the families' published vocabularies (docs/adr/0010-counting-tokens.md)."""
    assert abs(count_tokens([text], vocabulary_of(model)) - tokens) <= 0.1 * tokens


def test_long_texts_and_broken_ones_are_counted() -> None:
    text = PROSE * 600
    assert len(text) > 2 * CHUNK_CHARS
    whole, parts = count_tokens([text], O200K), sum(count_tokens([PROSE], O200K) for _ in range(600))
    assert abs(whole - parts) <= 0.02 * parts
    assert count_tokens(["a\ud800b"], O200K) == count_tokens(["a?b"], O200K)


def test_to_count_a_usual_answer_is_quick() -> None:
    text = (PROSE * 20)[:4096]
    count_tokens([text], O200K)
    for vocabulary, bound_ms in ((O200K, 1.0), (vocabulary_of("llama3.2"), 2.0)):
        took = []
        for _ in range(20):
            began = time.perf_counter()
            count_tokens([text], vocabulary)
            took.append(1000 * (time.perf_counter() - began))
        assert min(took) < bound_ms


async def test_an_answer_without_usage_is_counted_exactly() -> None:
    request = ChatRequest("gpt-4o", (Message("user", (TextPart("hello world"),)),))
    call = ToolCall("1", "lookup", '{"city":"Paris"}')
    answer = ChatAnswer(
        "gpt-4o", (AnswerChoice(text="2 + 2 = 4", reasoning="hello world", tool_calls=(call,)),), Usage()
    )
    usage = await count_usage(request, answer, model="gpt-4o")
    assert usage.input == 2 + TOKENS_PER_MESSAGE + TOKENS_TO_OPEN
    assert (usage.output, usage.reasoning) == (7 + count_tokens(["lookup", '{"city":"Paris"}'], O200K), 2)
    assert not usage.reported


async def test_what_was_embedded_is_counted_as_text_or_as_the_tokens_given() -> None:
    request = EmbeddingRequest("text-embedding-3-small", ("hello world", (1, 2, 3)))
    usage = await count_usage(request, ChatAnswer("m", (), Usage()), model="text-embedding-3-small")
    assert (usage.input, usage.output) == (2 + 3, 0)


async def test_what_was_read_is_taken_from_the_upstream_where_it_said_so() -> None:
    request = job(candidate(FakeAdapter({"echo": Script("hello world")})))
    attempt = Attempt(1, request.candidates[0])
    read = Usage(input=10, cache_read=2_000, cache_write=30, cache_write_1h=30)
    attempt.saw(Started("echo", None, read))
    attempt.saw(TextDelta("hello "))
    attempt.saw(TextDelta("world"))
    await attempt.count(request)
    usage = attempt.outcome(request, "stopped").usage
    assert (usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h) == (10, 2_000, 30, 30)
    assert (usage.output, usage.reported) == (2, False)


async def test_many_are_counted_at_once_without_holding_up_the_others() -> None:
    request = ChatRequest("gpt-4o", (Message("user", (TextPart(PROSE * 1_000),)),))
    answer = ChatAnswer("gpt-4o", (AnswerChoice(text=PROSE),), Usage())
    counted = await asyncio.gather(*(count_usage(request, answer, model="gpt-4o") for _ in range(4)))
    assert len({usage.input for usage in counted}) == 1
    assert counted[0].input > 50_000
