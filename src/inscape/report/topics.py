"""Topics that the demo searches for, with sentences to try on what is found: some about the topic,
and as many about things nearby or with the same words, where its features are silent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """query: what is searched for; apart_from: what the sentences in `near` are about."""

    query: str
    apart_from: str
    about: tuple[str, ...]
    near: tuple[str, ...]


TOPICS = (
    Topic(
        "US presidents",
        "other rulers and politicians",
        (
            "Abraham Lincoln was born in a log cabin in Kentucky.",
            "In 1974 Richard Nixon resigned from office.",
            "Barack Obama gave a speech in Chicago.",
            "George Washington refused to serve a third term.",
        ),
        (
            "Queen Victoria ruled Britain for more than sixty years.",
            "Napoleon lost the battle of Waterloo.",
            "The mayor of the town opened a new park.",
            "Winston Churchill gave a speech in London.",
        ),
    ),
    Topic(
        "genes",
        "other science",
        (
            "The gene codes for a protein that repairs damage.",
            "A mutation in this gene raises the risk of cancer.",
            "Children inherit half of their genes from each parent.",
            "The genome of the mouse was sequenced in 2002.",
        ),
        (
            "The enzyme breaks down starch in the mouth.",
            "Electrons move around the nucleus of an atom.",
            "The patient was given antibiotics for a week.",
            "The planet Saturn has rings of ice and dust.",
        ),
    ),
    Topic(
        "Golden Gate Bridge",
        "other bridges and golden things",
        (
            "The Golden Gate Bridge is painted orange.",
            "Fog often hides the towers of the Golden Gate Bridge.",
            "We walked across the Golden Gate Bridge at sunset.",
            "The Golden Gate Bridge opened in 1937.",
        ),
        (
            "The Sydney Harbour Bridge is painted grey.",
            "We walked across Tower Bridge at sunset.",
            "Her golden hair shone in the sun.",
            "The golden gate of the palace opened at noon.",
        ),
    ),
    Topic(
        "San Francisco",
        "other cities and people",
        (
            "She moved to San Francisco to work for a bank.",
            "The hills of San Francisco are steep.",
            "San Francisco was shaken by an earthquake in 1906.",
            "He missed the last train to San Francisco.",
        ),
        (
            "She moved to San Diego to work for a bank.",
            "The streets of Lisbon are steep.",
            "Tokyo was shaken by an earthquake in 1923.",
            "Francisco missed the last train to Berlin.",
        ),
    ),
    Topic(
        "bridges",
        "other buildings and ways",
        (
            "The bridge over the river was closed for repairs.",
            "Engineers built a suspension bridge across the bay.",
            "Two old stone bridges lead into the town.",
            "The Brooklyn Bridge opened in 1883.",
        ),
        (
            "The road over the mountain was closed for repairs.",
            "Workers dug a tunnel under the bay.",
            "Two old stone towers guard the town.",
            "The opera house opened in 1883.",
        ),
    ),
)
