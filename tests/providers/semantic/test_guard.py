"""What two questions must agree in."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.semantic import guard
from providers.semantic.values import Features

pytestmark = pytest.mark.no_database


def between(one: str, other: str) -> str | None:
    first, second = guard.features_of(one), guard.features_of(other)
    assert guard.disagreement(first, second) == guard.disagreement(second, first)
    return guard.disagreement(first, second)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("Does the plan cover five users?", "Does the plan cover 6 users?", "numbers"),
        ("Is 1,000 enough?", "Is 10,000 enough?", "numbers"),
        ("How far is 3 miles?", "How far is 3 kilometres?", "numbers"),
        ("What is the price in dollars?", "What is the price in euros?", "units"),
        ("Is the shop open on Monday?", "Is the shop open on Sunday?", "dates"),
        ("What happened in 1929?", "What happened in 1992?", "dates"),
        ("How do I install Python 3.9?", "How do I install Python 3.11?", "versions"),
        ("Which creams contain soy?", "Which creams do not contain soy?", "negation"),
        ("Can I travel with a visa?", "Can I travel without a visa?", "negation"),
        ("Why does the job fail?", "Why does the job not fail?", "negation"),
        ("Do all members vote?", "Do some members vote?", "quantifiers"),
        ("Which has more sugar than milk?", "Which has less sugar than milk?", "comparatives"),
        ("How do I turn on two-factor login?", "How do I disable two-factor login?", "antonyms"),
        ("Why is the port open?", "Why is the port closed?", "antonyms"),
        ("Is this reversible?", "Is this irreversible?", "antonyms"),
        ("What is the capital of Austria?", "What is the capital of Australia?", "names"),
        ("Who wrote Hamlet?", "Who wrote Faust?", "names"),
        ("When was the tower built?", "Where was the tower built?", "question word"),
        ("How do bees swarm?", "Why do bees swarm?", "question word"),
        (
            "How do I move data from the phone to the laptop?",
            "How do I move data from the laptop to the phone?",
            "roles",
        ),
        ("Can a cat infect a dog?", "Can a dog infect a cat?", "roles"),
        ("How do I convert binary to decimal?", "How do I convert decimal to binary?", "roles"),
        ("How do I reset the router?", "How do I sell the router?", "replaced words"),
        ("How do I fix my contactless?", "How do I troubleshoot my contactless?", None),
        ("How do I paint the garden fence?", "How do I move the garden fence?", "replaced words"),
        ("How do I use x == y in Python?", "How do I use x = y in Python?", "signs"),
        ("What does 5 / 2 evaluate to?", "What does 5 // 2 evaluate to?", "signs"),
        ("What is the result of 2 ** 8?", "What is the result of 2 * 8?", "signs"),
        ("What does `x > y` return in JavaScript?", "What does `x < y` return in JavaScript?", "signs"),
        ("Is a temperature of -5 degrees dangerous?", "Is a temperature of 5 degrees dangerous?", "signs"),
        ("What does the emoji \U0001f600 mean in texting?", "What does the emoji \U0001f622 mean in texting?", "signs"),
        ("What does grep -i do to a line?", "What does grep -I do to a line?", "signs"),
        ("What does\nfor x in y:\n  f(x)\n  g(x)\ndo?", "What does\nfor x in y:\n  f(x)\ng(x)\ndo?", "signs"),
        ("What does \u53d6\u6d88 mean in Chinese?", "What does \u786e\u8ba4 mean in Chinese?", "foreign words"),
        ("Can I deduct home office expenses?", "Must I deduct home office expenses?", "marks"),
        ("Do I have to file a tax return?", "Can I file a tax return?", "marks"),
        ("Should employees sign the contract?", "Must employees sign the contract?", "marks"),
        ("What must I do to cancel?", "What may I do to cancel?", "marks"),
        ("What was the population of France?", "What is the population of France?", "marks"),
        ("When did the company ship the product?", "When will the company ship the product?", "marks"),
        ("Do some birds migrate?", "Do birds migrate?", "marks"),
        ("Arguments for the death penalty", "Arguments against the death penalty", "marks"),
        ("Can I get a refund if I cancel?", "Can I get a refund if you cancel?", "marks"),
        ("Who wrote the odyssey?", "Who translated the odyssey?", "replaced words"),
        ("What is the dose for adults?", "What is the dose for obese adults?", "added words"),
        ("How do I delete a branch?", "How do I delete a branch on the server?", "added words"),
        ("Can I bring scissors on a plane?", "Can I bring knives and scissors on a plane?", "added words"),
        ("How do I select every row?", "How do I select every other row?", "added words"),
        ("Can I get a refund if it rains?", "Can I get a refund even if it rains?", "added words"),
        ("How do I pay for a voucher?", "How can I pay with a voucher?", "small words"),
        ("Is the office open until nine?", "Is the office open from nine?", "small words"),
        ("How do I give feedback?", "How do I take feedback?", "small words"),
        ("Can I see the admin panel?", "Can you see the admin panel?", "small words"),
        ("What is photosynthesis?", "Was ist Photosynthese?", "language"),
        ("¿Qué es la fotosíntesis?", "O que é a fotossíntese?", "language"),
    ],
)
def test_what_matters_and_differs_is_named(one: str, other: str, differ: str | None) -> None:
    assert between(one, other) == differ


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I activate my card?", "What are the steps to activate a card?"),
        ("Does the plan cover five users?", "Is the plan good for 5 users?"),
        ("Is 1000 dollars enough for a week in Spain?", "In Spain, is $1,000 enough for a week?"),
        ("How do I turn on two-factor login?", "What is the way to enable 2FA when signing in?"),
        ("Did Spain defeat England?", "Was England beaten by Spain?"),
        ("Why isn't the card working?", "What is the reason the card does not work?"),
        ("Why was my card declined?", "Why is my card declined?"),
        ("Where is it?? My top-up - it's late!", "My top-up is late. Where is it?"),
        ("What is the difference between Java and Python?", "What is the difference between Python and Java?"),
        ("How do I delete a branch?", "Can you tell me how to delete a branch, please?"),
        ("Which colours can I choose?", "What colours can I choose?"),
        ("My new card hasn't arrived.", "My card hasn't arrived."),
    ],
)
def test_two_ways_to_ask_one_thing_agree(one: str, other: str) -> None:
    assert between(one, other) is None


def test_features_of_another_version_agree_with_nothing() -> None:
    features = guard.features_of("How do I activate my card?")
    older = msgspec.structs.replace(features, version=guard.VERSION - 1)
    assert guard.disagreement(features, older) == "version"


def test_features_without_the_words_in_order_agree_with_nothing() -> None:
    features = guard.features_of("How do I activate a card?")
    stored = msgspec.json.decode(msgspec.json.encode(features))
    assert guard.disagreement(features, msgspec.convert(stored[:-1], Features)) == "version"


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_features_that_survive_storage_and_agrees_with_itself(text: str) -> None:
    features = guard.features_of(text)
    assert msgspec.json.decode(msgspec.json.encode(features), type=Features) == features
    assert guard.disagreement(features, features) is None
