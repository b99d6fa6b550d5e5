"""Example calls of presets and prompts. A personal one doesn't exist for colleagues; shared ones do, and are in their lists."""

from chat.services.presets import create_preset
from chat.services.prompts import Variable, create_prompt
from kernel.loop import on_loop
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _preset(company: Company) -> Made:
    return Made(ids={"preset_id": on_loop(create_preset(member=company.owner.principal, name="Editor")).id})


def _prompt(company: Company) -> Made:
    made = create_prompt(
        member=company.owner.principal, name="Greeting", text="Hi {{name}}", variables=(Variable(name="name"),)
    )
    return Made(ids={"prompt_id": on_loop(made).id})


def _listed_preset(company: Company) -> Made:
    return Made(listed=(on_loop(create_preset(member=company.owner.principal, name="Mine")).id,))


def _listed_prompt(company: Company) -> Made:
    return Made(listed=(on_loop(create_prompt(member=company.owner.principal, name="Mine", text="Hi")).id,))


CALLS = (
    Call("GET", "presets", _listed_preset),
    Call("POST", "presets", lambda company: Made(body={"name": "Editor"}), status=201),
    Call("GET", "presets/<uuid:preset_id>", _preset, private=True),
    Call(
        "PATCH",
        "presets/<uuid:preset_id>",
        lambda company: Made(ids=_preset(company).ids, body={"version": 1, "name": "Reader"}),
        private=True,
    ),
    Call("DELETE", "presets/<uuid:preset_id>", _preset, status=204, private=True),
    Call("GET", "prompts", _listed_prompt),
    Call("POST", "prompts", lambda company: Made(body={"name": "Greeting", "text": "Hi"}), status=201),
    Call("GET", "prompts/<uuid:prompt_id>", _prompt, private=True),
    Call(
        "PATCH",
        "prompts/<uuid:prompt_id>",
        lambda company: Made(ids=_prompt(company).ids, body={"version": 1, "name": "Other"}),
        private=True,
    ),
    Call("DELETE", "prompts/<uuid:prompt_id>", _prompt, status=204, private=True),
    Call(
        "POST",
        "prompts/<uuid:prompt_id>/render",
        lambda company: Made(ids=_prompt(company).ids, body={"values": {"name": "Bo"}}),
        private=True,
    ),
)
