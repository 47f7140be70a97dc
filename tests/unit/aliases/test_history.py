"""Who promoted what, when and why; and that nothing can be said otherwise afterwards."""

from __future__ import annotations

import getpass
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from isthmus import aliases, registry
from isthmus.aliases.events import Draft, Standing
from isthmus.aliases.history import EVENTS_PER_RUN, EXPERIMENT, Trail
from isthmus.aliases.moves import Aliases
from isthmus.bundle.manifest import HALVES
from isthmus.errors import ModelNotFound, Overtaken, RegistryError
from isthmus.registry.owner import Owner
from isthmus.registry.versions import make_registered_model
from isthmus.tracking import open_store
from isthmus.tracking.store import as_default_store

_NUMBERS = count()


@pytest.fixture(scope="session")
def originals(register, settings) -> dict[str, list]:
    """MLflow's three versions of each half of a pair."""
    pairs = [register("original", seed) for seed in range(3)]
    client = open_store(settings)
    return {
        half: [client.get_model_version(f"original-{half}", str(each.version)) for each in pairs]
        for half in HALVES
    }


@pytest.fixture
def three(originals, settings):
    """Three versions of a pair of its own, as registering makes them: in a tenth of its time."""
    name = f"three-{next(_NUMBERS)}"
    client = open_store(settings)
    for half, versions in originals.items():
        make_registered_model(client, name, half)
        with as_default_store(settings.tracking_uri):
            for each in versions:
                client.create_model_version(
                    f"{name}-{half}", each.source, each.run_id, each.tags, model_id=each.model_id
                )
    return name


def champions(name, settings) -> tuple[object, object]:
    """The encoder's and the decoder's champion, as MLflow has them."""
    client = open_store(settings)
    return tuple(
        client.get_registered_model(f"{name}-{half}").aliases.get("champion")
        for half in ("encoder", "decoder")
    )


def steps(name, settings) -> list[tuple[object, object, str]]:
    return [(e.from_version, e.to_version, e.source) for e in aliases.history(name, settings)]


def test_a_promotion_is_remembered_with_who_when_and_why(three, settings):
    before = datetime.now(UTC)
    aliases.promote(three, 2, settings, why="fewer false alarms")
    (event,) = aliases.history(three, settings)
    assert (event.number, event.alias, event.from_version, event.to_version) == (
        1,
        "champion",
        None,
        2,
    )
    assert event.actor == f"{getpass.getuser()}@{socket.gethostname()}"
    assert event.why == "fewer false alarms"
    assert before <= event.at <= datetime.now(UTC)
    assert aliases.reconcile(three, settings) == ()


def test_a_pair_that_was_never_promoted_has_no_history_and_gets_none_by_looking(three, settings):
    assert aliases.history(three, settings) == ()
    assert aliases.reconcile(three, settings) == ()
    assert aliases.history(three, settings) == ()


def test_rollback_goes_further_back_each_time_and_forgets_what_it_undid(three, settings):
    for version in (1, 2, 3):
        aliases.promote(three, version, settings)
    assert aliases.rollback(three, settings, why="it drifts").version == 2
    assert champions(three, settings) == (2, 2)
    assert aliases.rollback(three, settings).version == 1
    aliases.promote(three, 3, settings)
    assert aliases.rollback(three, settings).version == 1
    with pytest.raises(ModelNotFound, match="had no champion before 1"):
        aliases.rollback(three, settings)
    events = aliases.history(three, settings)
    assert [e.from_version for e in events[1:]] == [e.to_version for e in events[:-1]]
    assert events[3].why == "it drifts"


def test_rollback_passes_over_versions_that_were_deleted_and_says_so(three, settings):
    for version in (1, 2, 3):
        aliases.promote(three, version, settings)
    open_store(settings).delete_model_version(f"{three}-encoder", "2")
    assert aliases.rollback(three, settings).version == 1
    assert "deleted since: 2" in aliases.history(three, settings)[-1].why


def test_after_the_champion_was_taken_away_rollback_gives_it_back(three, settings):
    aliases.promote(three, 2, settings)
    event = aliases.demote(three, settings, "champion", why="no longer needed")
    assert (event.from_version, event.to_version) == (2, None)
    assert champions(three, settings) == (None, None)
    with pytest.raises(ModelNotFound, match="no version of"):
        aliases.demote(three, settings, "champion")
    assert aliases.rollback(three, settings).version == 2


def test_promoting_what_is_champion_already_writes_nothing(three, settings):
    aliases.promote(three, 2, settings)
    assert aliases.promote(three, 2, settings).previous == 2
    assert len(aliases.history(three, settings)) == 1


def test_what_was_decided_on_an_older_event_is_refused_and_writes_nothing(three, settings):
    aliases.promote(three, 1, settings, since=0)
    aliases.promote(three, 3, settings, "other")  # another alias's event does not matter
    aliases.promote(three, 2, settings, since=1)
    with pytest.raises(Overtaken, match=f"{three}@champion was moved to version 2 by .*decide"):
        aliases.promote(three, 3, settings, since=1)
    with pytest.raises(Overtaken):
        aliases.demote(three, settings, "champion", since=0)
    assert len(aliases.history(three, settings)) == 3
    assert champions(three, settings) == (2, 2)
    assert aliases.demote(three, settings, "champion", since=3).to_version is None


def test_a_click_that_nobody_recorded_yet_overtakes_a_decision(three, settings):
    aliases.promote(three, 1, settings)
    open_store(settings).set_registered_model_alias(f"{three}-encoder", "champion", "3")
    with pytest.raises(Overtaken, match="moved to version 3 by MLflow page"):
        aliases.promote(three, 2, settings, since=1)
    assert champions(three, settings) == (3, 3)


def test_who_loses_the_race_for_a_number_is_overtaken(three, settings, monkeypatch):
    aliases.promote(three, 1, settings)
    put = Trail._put

    def let_another_go_first(trail, run_id, key, value):
        with monkeypatch.context() as patch:
            patch.setattr(Trail, "_put", put)
            aliases.promote(three, 3, settings)
        return put(trail, run_id, key, value)

    monkeypatch.setattr(Trail, "_put", let_another_go_first)
    with pytest.raises(Overtaken):
        aliases.promote(three, 2, settings, since=1)
    assert steps(three, settings) == [(None, 1, "command"), (1, 3, "command")]


def test_an_event_far_back_is_still_an_aliass_newest(three, settings):
    aliases.promote(three, 1, settings, "champion")
    for number in range(EVENTS_PER_RUN + 2):
        aliases.promote(three, 1 + number % 2, settings, "busy")
    with pytest.raises(Overtaken, match="moved to version 1"):
        aliases.promote(three, 2, settings, since=0)
    assert aliases.promote(three, 2, settings, since=1).previous == 1


def test_a_long_history_is_read_whole_and_its_newest_part_alone(three, settings):
    many = EVENTS_PER_RUN + 3
    for number in range(many):
        aliases.promote(three, 1 + number % 2, settings, why=str(number))
    events = aliases.history(three, settings)
    assert [event.number for event in events] == list(range(1, many + 1))
    assert [event.why for event in events] == [str(number) for number in range(many)]
    assert [e.from_version for e in events[1:]] == [e.to_version for e in events[:-1]]
    assert len(Aliases(open_store(settings), three, settings).trail.head().entries) == 3


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_whichever_half_is_clicked_the_other_follows(three, settings, half):
    aliases.promote(three, 1, settings)
    open_store(settings).set_registered_model_alias(f"{three}-{half}", "champion", "3")
    (event,) = aliases.reconcile(three, settings)
    assert (event.source, event.from_version, event.to_version) == ("page", 1, 3)
    assert champions(three, settings) == (3, 3)
    assert aliases.reconcile(three, settings) == ()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_an_alias_that_is_removed_in_the_page_is_removed_from_the_other_half(three, settings, half):
    aliases.promote(three, 1, settings)
    open_store(settings).delete_registered_model_alias(f"{three}-{half}", "champion")
    (event,) = aliases.reconcile(three, settings)
    assert (event.from_version, event.to_version) == (1, None)
    assert champions(three, settings) == (None, None)


def test_a_first_champion_that_was_clicked_begins_the_history(three, settings):
    open_store(settings).set_registered_model_alias(f"{three}-encoder", "champion", "2")
    aliases.promote(three, 3, settings)
    assert steps(three, settings) == [(None, 2, "page"), (2, 3, "command")]


def test_a_click_on_a_decoder_without_encoder_is_put_back(three, settings):
    aliases.promote(three, 1, settings)
    client = open_store(settings)
    client.delete_model_version(f"{three}-encoder", "3")
    client.set_registered_model_alias(f"{three}-decoder", "champion", "3")
    assert aliases.reconcile(three, settings) == ()
    assert champions(three, settings) == (1, 1)


@pytest.mark.parametrize("is_half_set", [False, True], ids=["before both", "between both"])
def test_a_promotion_whose_process_died_is_completed(three, settings, is_half_set, monkeypatch):
    aliases.promote(three, 1, settings)
    _die_after_intent(three, settings, monkeypatch, Standing(2, 2))
    if is_half_set:
        open_store(settings).set_registered_model_alias(f"{three}-decoder", "champion", "2")
    assert aliases.reconcile(three, settings) == ()
    assert champions(three, settings) == (2, 2)
    assert steps(three, settings) == [(None, 1, "command"), (1, 2, "command")]


def test_a_promotion_that_died_and_whose_version_was_deleted_is_given_up(
    three, settings, monkeypatch
):
    aliases.promote(three, 1, settings)
    _die_after_intent(three, settings, monkeypatch, Standing(2, 2))
    for half in ("encoder", "decoder"):
        open_store(settings).delete_model_version(f"{three}-{half}", "2")
    for _ in range(2):
        aliases.reconcile(three, settings)
        assert champions(three, settings) == (1, 1)
    assert steps(three, settings)[1:] == [(1, 2, "command"), (2, 1, "page")]


def test_a_promotion_that_is_under_way_is_left_alone(three, settings):
    aliases.promote(three, 1, settings)
    _intend(three, settings, Standing(2, 2))
    assert aliases.reconcile(three, settings) == ()
    assert champions(three, settings) == (1, 1)
    aliases.promote(three, 3, settings)
    assert champions(three, settings) == (3, 3)
    assert steps(three, settings)[1:] == [(1, 2, "command"), (2, 3, "command")]


def test_a_slow_promotion_does_not_undo_a_later_one(three, settings):
    aliases.promote(three, 1, settings)
    slow = Aliases(open_store(settings), three, settings)
    entry = slow.trail.append(lambda _: Draft("champion", Standing(2, 2), "command", ""))
    aliases.promote(three, 3, settings)
    slow.settle(entry)
    assert champions(three, settings) == (3, 3)
    assert aliases.reconcile(three, settings) == ()


@pytest.fixture
def failing(monkeypatch):
    """Lets MLflow's client of the registry fail at a method, once at its `at`-th call."""
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    def fail(method: str, error: BaseException, at: int = 1) -> None:
        do, calls = getattr(ModelRegistryClient, method), count(1)

        def fail_once(self, *args, **kwargs):
            if next(calls) == at:
                raise error
            return do(self, *args, **kwargs)

        monkeypatch.setattr(ModelRegistryClient, method, fail_once)

    return fail


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt()], ids=["MLflow", "^C"])
@pytest.mark.parametrize("at", [1, 2], ids=["before both", "between both"])
def test_a_promotion_that_failed_is_done_by_the_same_process_when_tried_again(
    three, settings, failing, error, at
):
    aliases.promote(three, 1, settings)
    failing("set_registered_model_alias", error, at)
    with pytest.raises((RegistryError, KeyboardInterrupt)):
        aliases.promote(three, 2, settings)
    assert aliases.promote(three, 2, settings).version == 2
    assert champions(three, settings) == (2, 2)
    assert steps(three, settings) == [(None, 1, "command"), (1, 2, "command")]


def test_a_promotion_that_failed_is_completed_by_reconcile_in_the_same_process(
    three, settings, monkeypatch
):
    from mlflow.tracking import MlflowClient

    tag, failed = MlflowClient.set_experiment_tag, []

    def fail_once(self, experiment_id, key, value):
        if key.startswith("newest.") and not failed:  # after the event was written
            failed.append(key)
            raise OSError("gone")
        tag(self, experiment_id, key, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", fail_once)
    with pytest.raises(RegistryError, match="gone"):
        aliases.promote(three, 2, settings)
    aliases.reconcile(three, settings)
    assert champions(three, settings) == (2, 2)


def test_after_a_promotion_that_failed_a_later_one_and_clicks_go_on(three, settings, failing):
    aliases.promote(three, 1, settings)
    failing("set_registered_model_alias", OSError("gone"))
    with pytest.raises(RegistryError, match="gone"):
        aliases.promote(three, 2, settings)
    aliases.promote(three, 3, settings)
    open_store(settings).set_registered_model_alias(f"{three}-encoder", "champion", "1")
    (event,) = aliases.reconcile(three, settings)
    assert (event.from_version, event.to_version) == (3, 1)
    assert champions(three, settings) == (1, 1)


def test_promoting_what_another_process_is_promoting_is_done_when_it_returns(three, settings):
    aliases.promote(three, 1, settings)
    _intend(three, settings, Standing(2, 2))
    aliases.promote(three, 2, settings)
    assert champions(three, settings) == (2, 2)
    open_store(settings).set_registered_model_alias(f"{three}-encoder", "champion", "3")
    assert len(aliases.reconcile(three, settings)) == 1


def test_what_died_and_was_overtaken_is_never_shown(three, settings, monkeypatch):
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    _die_after_intent(three, settings, monkeypatch, Standing(2, 2))
    _die_after_intent(three, settings, monkeypatch, Standing(3, 3))
    give, given = ModelRegistryClient.set_registered_model_alias, []

    def note(self, name, alias, version):
        given.append(version)
        give(self, name, alias, version)

    monkeypatch.setattr(ModelRegistryClient, "set_registered_model_alias", note)
    aliases.reconcile(three, settings)
    assert given == ["3", "3"]


def test_a_first_alias_that_another_process_sets_at_once_is_set_again(three, settings, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    give, collided = ModelRegistryClient.set_registered_model_alias, []

    def collide_once(self, name, *args):
        if name not in collided:
            collided.append(name)
            raise MlflowException("(psycopg2.errors.UniqueViolation)", error_code=BAD_REQUEST)
        return give(self, name, *args)

    monkeypatch.setattr(ModelRegistryClient, "set_registered_model_alias", collide_once)
    aliases.promote(three, 2, settings)
    assert len(collided) == 2
    assert champions(three, settings) == (2, 2)


def test_an_event_cannot_be_written_twice_or_changed(three, settings):
    aliases.promote(three, 1, settings)
    client = open_store(settings)
    trail = Trail(client, three, settings)
    head = trail.head()
    client.log_param(head.run_id, "event.000002", "taken by another process")
    assert trail._put(head.run_id, "event.000002", "ours") == "taken by another process"
    with pytest.raises(Exception, match="Changing param values is not allowed"):
        client.log_param(head.run_id, "event.000001", "another")


def test_two_who_begin_a_history_at_once_write_the_same_one(three, settings):
    client = open_store(settings)
    first, second = (Trail(client, three, settings) for _ in range(2))
    assert first.head() is second.head() is None
    first._begin()
    second._begin()
    assert first.head().run_id == second.head().run_id


def test_a_hint_that_somebody_changed_is_not_believed(three, settings):
    aliases.promote(three, 1, settings)
    client = open_store(settings)
    trail = client.get_experiment_by_name(EXPERIMENT)
    assert f"newest.{three}" in trail.tags
    assert trail.tags["mlflow.experiment.isGateway"] == "true"  # out of MLflow's list
    client.set_experiment_tag(trail.experiment_id, f"newest.{three}", "0" * 32)
    aliases.promote(three, 2, settings)
    assert len(aliases.history(three, settings)) == 2


@pytest.mark.parametrize("why", ["\x1b" * 1000, '"' * 5000, "\U0001f600" * 1000])
def test_a_reason_of_any_characters_can_be_read_again(three, settings, why):
    aliases.promote(three, 1, settings, why=why)
    (event,) = aliases.history(three, settings)
    assert event.to_version == 1
    assert event.why.removesuffix("…") == why[: len(event.why.removesuffix("…"))]
    assert len(event.why) > 100


def test_an_event_that_cannot_be_read_stops_nothing(three, settings):
    aliases.promote(three, 1, settings)
    client = open_store(settings)
    run_id = Trail(client, three, settings).head().run_id
    client.log_param(run_id, "event.000002", '{"at": "2026-11-2')
    aliases.promote(three, 2, settings)
    assert champions(three, settings) == (2, 2)
    events = aliases.history(three, settings)
    assert [(e.number, e.to_version) for e in events] == [(1, 1), (2, None), (3, 2)]
    assert run_id in events[1].why
    assert aliases.rollback(three, settings).version == 1


def test_a_renamed_pair_begins_a_history_of_its_own(three, settings):
    aliases.promote(three, 1, settings)
    client, renamed = open_store(settings), f"renamed-{three}"
    for half in ("encoder", "decoder"):
        client.rename_registered_model(f"{three}-{half}", f"{renamed}-{half}")
    aliases.promote(renamed, 2, settings)
    assert steps(renamed, settings) == [(None, 1, "page"), (1, 2, "command")]
    assert steps(three, settings) == [(None, 1, "command")]


def test_a_process_of_another_machine_is_given_its_time():
    elsewhere = Owner("elsewhere", 1, 0.0)
    now = datetime.now(UTC)
    assert not elsewhere.has_given_up(now, timedelta(minutes=1))
    assert elsewhere.has_given_up(now - timedelta(minutes=2), timedelta(minutes=1))
    here = Owner.current()
    assert not here.has_given_up(now - timedelta(days=1), timedelta(minutes=1))
    assert replace(here, started=here.started - 60).has_given_up(now, timedelta(minutes=1))


def _intend(name, settings, standing):
    aliases = Aliases(open_store(settings), name, settings)
    aliases.trail.append(lambda _: Draft("champion", standing, "command", ""))


def _die_after_intent(name, settings, monkeypatch, standing):
    dead = replace(Owner.current(), started=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "current", lambda: dead)
        _intend(name, settings, standing)


def test_commands_promote_roll_back_and_show_the_history(three, settings, isthmus, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    assert "was never promoted" in isthmus("history", three).out
    # Their data are nowhere, so the gate cannot judge them.
    assert isthmus("promote", three, 1).code == 1
    assert isthmus("promote", three, 1, "--force", "--why", "the first").code == 0
    assert isthmus("promote", three, 2, "--force", "--why", "sharper").code == 0
    done = isthmus("rollback", three, "--why", "too many false alarms [sic]")
    assert done.out.strip() == f"{three}@champion is now {three}/1 (before: version 2)"
    lines = isthmus("history", three).out.splitlines()
    assert lines[0].split() == ["when", "who", "by", "alias", "from", "to", "why"]
    assert "rollback" in lines[1]
    assert "too many false alarms [sic]" in lines[1]
    assert "sharper" in lines[2]
    failed = isthmus("rollback", three)
    assert failed.code == 2
    assert f"see isthmus history {three}" in failed.err
    assert isthmus("history", "../up").code == 2


@pytest.mark.parametrize("name", ["../up", "a b", "a/b", "a/1", "a@b", "ä", "", "a'b"])
@pytest.mark.parametrize(
    "command",
    [
        lambda name, settings: aliases.promote(name, 1, settings),
        lambda name, settings: aliases.demote(name, settings, "champion"),
        aliases.rollback,
        aliases.reconcile,
        aliases.history,
        registry.list_versions,
    ],
    ids=["promote", "demote", "rollback", "reconcile", "history", "list"],
)
def test_names_that_are_none_are_refused_before_anything_is_asked(settings, name, command):
    with pytest.raises(ModelNotFound, match=r"names no model|is more than a name"):
        command(name, settings)
