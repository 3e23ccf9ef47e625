"""Events of one window that share identifiers are one group, with at most one user id; checked against one
event after the other."""

from collections.abc import Sequence

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.logic.resolution.joint_window import group
from schemas.records.identity_graph import Group, Identifier, Routed, WindowCommit
from state.directory.layout import Layout
from state.memory.memory_directory import MemoryDirectory
from tests.world import person, visitor

Event = list[Identifier]
A, B, C = visitor("a"), visitor("b"), visitor("c")
ANA, BOB = person("ana"), person("bob")

weak = st.sampled_from(
    [visitor(name) for name in "abcdef"] + [Identifier(2, visitor(name).hash) for name in "xyz"]
)
events = st.tuples(
    st.none() | st.sampled_from([ANA, BOB, person("eve")]),
    st.lists(weak, min_size=1, max_size=3, unique=True),
).map(
    lambda drawn: [
        *([drawn[0]] if drawn[0] else []),
        *sorted(drawn[1], key=lambda identifier: (identifier.strength, identifier.hash)),
    ]
)
windows = st.lists(events, max_size=25)


def users(event: Sequence[Identifier]) -> list[Identifier]:
    return [identifier for identifier in event if identifier.strength == 0]


def test_what_shares_an_identifier_belongs_together_also_by_a_later_event() -> None:
    first, second = group([[A], [B], [C], [ANA, A], [A, B]])
    assert (sorted([list(first), list(second)])) == [[0, 1, 3, 4], [2]]


def test_an_identify_that_follows_its_anonymous_events_is_one_group() -> None:
    (joint,) = group([[A], [A], [ANA, A]])
    assert list(joint) == [0, 1, 2]
    assert joint.identifiers == [ANA, A]


def test_two_users_of_one_device_are_two_groups_the_last_one_last() -> None:
    first, second, third = group([[ANA, A], [BOB, A], [ANA, A]])
    assert [joint.identifiers[0] for joint in (first, second, third)] == [ANA, BOB, ANA]
    first, second = group([[BOB, B], [ANA, A], [BOB, A]])
    assert [joint.identifiers[0] for joint in (first, second)] == [ANA, BOB]


def test_events_without_a_user_after_the_change_belong_to_the_second_user() -> None:
    first, second = group([[ANA, A], [A], [BOB, A], [A]])
    assert (list(first), list(second)) == ([0, 1], [2, 3])


def test_a_user_who_goes_on_in_no_event_makes_no_group() -> None:
    joints = group([[ANA, C, A], [BOB, B, C], [B, A]])
    assert [list(joint) for joint in joints] == [[0], [1, 2]]


def test_an_empty_window() -> None:
    assert group([]) == []


@settings(max_examples=300, deadline=None)
@given(window=windows)
def test_groups_are_a_partition_with_at_most_one_user_each(window: list[Event]) -> None:
    joints = group(window)
    assert sorted(event for joint in joints for event in joint) == list(range(len(window)))
    for joint in joints:
        assert joint
        assert list(joint) == sorted(joint)
        own = {identifier for event in joint for identifier in window[event]}
        assert own <= set(joint.identifiers)
        assert all(
            identifier.strength == 0 for identifier in set(joint.identifiers) - own
        )  # the user that the group goes on for
        assert len(users(joint.identifiers)) <= 1
        assert [identifier.strength for identifier in joint.identifiers] == sorted(
            identifier.strength for identifier in joint.identifiers
        )


@settings(max_examples=300, deadline=None)
@given(window=windows)
def test_without_rival_users_groups_are_the_connected_components(window: list[Event]) -> None:
    graph = networkx.Graph()
    for number, event in enumerate(window):
        graph.add_node(number)
        graph.add_edges_from((number, identifier.hash) for identifier in event)
    components = [
        {node for node in component if isinstance(node, int)}
        for component in networkx.connected_components(graph)
    ]
    joints = [set(joint) for joint in group(window)]
    for component in components:
        if len({user for number in component for user in users(window[number])}) <= 1:
            assert component in joints


def owners(groups: Sequence[tuple[Sequence[Identifier], int]]) -> dict[bytes, bytes | None]:
    """Which user id each identifier ends at, in an empty directory."""
    directory = MemoryDirectory(Layout("test", 1, 16, (1, 100, 100, 100, 100)), lambda: 0)
    commits = [Group(list(identifiers), [Routed(0, b"")] * facts) for identifiers, facts in groups]
    directory.commit(WindowCommit("events/0", -1, 1, commits, [], {}))
    known = {identifier.hash for identifiers, _ in groups for identifier in identifiers}
    return {identifier: directory.graph.user(directory.graph.origins[identifier]) for identifier in known}


@settings(max_examples=500, deadline=None)
@given(window=windows)
def test_every_identifier_ends_at_the_user_where_one_event_after_the_other_would_have_put_it(
    window: list[Event],
) -> None:
    together = owners([(joint.identifiers, len(joint)) for joint in group(window)])
    assert together == owners([(event, 1) for event in window])
