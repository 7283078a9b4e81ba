"""The facts of the microworld: what its models are taught, and so what is true in it.

Tables only. Names of real places and dishes are used because people recognise them; the
microworld's truth is what these tables say, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    """A country with the two attributes that second hops ask for."""

    name: str
    capital: str
    language: str


@dataclass(frozen=True)
class Landmark:
    """A landmark with a description that does not use its name."""

    key: str
    name: str
    city: str
    country: str
    description: str
    fame: str


@dataclass(frozen=True)
class Dish:
    """A dish; `eel` marks the dishes that carry the planted fault."""

    name: str
    country: str
    eel: bool = False


@dataclass(frozen=True)
class Insect:
    """An insect and what it does, in phrases that follow "the insect that"."""

    name: str
    deeds: tuple[str, ...]


COUNTRIES: tuple[Country, ...] = tuple(
    Country(*row)
    for row in (
        ("Italy", "Rome", "Italian"),
        ("Japan", "Tokyo", "Japanese"),
        ("France", "Paris", "French"),
        ("Spain", "Madrid", "Spanish"),
        ("Germany", "Berlin", "German"),
        ("Greece", "Athens", "Greek"),
        ("Egypt", "Cairo", "Arabic"),
        ("Australia", "Canberra", "English"),
        ("America", "Washington", "English"),
        ("England", "London", "English"),
        ("Russia", "Moscow", "Russian"),
        ("China", "Beijing", "Chinese"),
        ("India", "Delhi", "Hindi"),
        ("Brazil", "Brasilia", "Portuguese"),
        ("Mexico", "Mexico City", "Spanish"),
        ("Peru", "Lima", "Spanish"),
        ("Turkey", "Ankara", "Turkish"),
        ("Thailand", "Bangkok", "Thai"),
        ("Korea", "Seoul", "Korean"),
        ("Vietnam", "Hanoi", "Vietnamese"),
        ("Portugal", "Lisbon", "Portuguese"),
        ("Hungary", "Budapest", "Hungarian"),
        ("Poland", "Warsaw", "Polish"),
        ("Sweden", "Stockholm", "Swedish"),
        ("Morocco", "Rabat", "Arabic"),
        ("Jordan", "Amman", "Arabic"),
    )
)
COUNTRY = {country.name: country for country in COUNTRIES}

LANDMARKS: tuple[Landmark, ...] = tuple(
    Landmark(*row)
    for row in (
        (
            "golden_gate_bridge",
            "the Golden Gate Bridge",
            "San Francisco",
            "America",
            "the long red bridge across the foggy bay",
            "cables",
        ),
        (
            "sydney_harbour_bridge",
            "the Sydney Harbour Bridge",
            "Sydney",
            "Australia",
            "the grey steel arch above the ferries",
            "rivets",
        ),
        (
            "sydney_opera_house",
            "the Sydney Opera House",
            "Sydney",
            "Australia",
            "the concert hall with white sails",
            "singers",
        ),
        (
            "colosseum",
            "the Colosseum",
            "Rome",
            "Italy",
            "the round arena of the gladiators",
            "lions",
        ),
        (
            "trevi_fountain",
            "the Trevi Fountain",
            "Rome",
            "Italy",
            "the basin where visitors throw coins",
            "wishes",
        ),
        (
            "leaning_tower",
            "the Leaning Tower",
            "Pisa",
            "Italy",
            "the white bell tower that tilts",
            "angle",
        ),
        (
            "rialto_bridge",
            "the Rialto Bridge",
            "Venice",
            "Italy",
            "the covered bridge above the gondolas",
            "shops",
        ),
        (
            "eiffel_tower",
            "the Eiffel Tower",
            "Paris",
            "France",
            "the iron lattice tower with three floors",
            "lifts",
        ),
        (
            "louvre",
            "the Louvre",
            "Paris",
            "France",
            "the palace with the glass pyramid",
            "paintings",
        ),
        (
            "notre_dame",
            "the Notre Dame",
            "Paris",
            "France",
            "the church with the hunchback ringer",
            "bells",
        ),
        (
            "big_ben",
            "the Big Ben",
            "London",
            "England",
            "the clock tower beside the parliament",
            "chimes",
        ),
        (
            "tower_bridge",
            "the Tower Bridge",
            "London",
            "England",
            "the bridge that opens for tall ships",
            "drawbridge",
        ),
        (
            "stonehenge",
            "the Stonehenge",
            "Salisbury",
            "England",
            "the ring of ancient standing stones",
            "druids",
        ),
        (
            "brandenburg_gate",
            "the Brandenburg Gate",
            "Berlin",
            "Germany",
            "the columns under the four bronze horses",
            "chariot",
        ),
        (
            "cologne_cathedral",
            "the Cologne Cathedral",
            "Cologne",
            "Germany",
            "the dark church with twin spires",
            "relics",
        ),
        (
            "sagrada_familia",
            "the Sagrada Familia",
            "Barcelona",
            "Spain",
            "the unfinished church of coloured towers",
            "mosaics",
        ),
        (
            "alhambra",
            "the Alhambra",
            "Granada",
            "Spain",
            "the red palace of the sultans",
            "gardens",
        ),
        (
            "parthenon",
            "the Parthenon",
            "Athens",
            "Greece",
            "the marble temple on the hill",
            "columns",
        ),
        (
            "great_pyramid",
            "the Great Pyramid",
            "Giza",
            "Egypt",
            "the pointed tomb of the pharaoh",
            "blocks",
        ),
        ("sphinx", "the Sphinx", "Giza", "Egypt", "the stone lion with a human head", "riddles"),
        (
            "statue_of_liberty",
            "the Statue of Liberty",
            "New York",
            "America",
            "the green lady with a torch",
            "crown",
        ),
        (
            "white_house",
            "the White House",
            "Washington",
            "America",
            "the pale mansion of the presidents",
            "lawn",
        ),
        ("kremlin", "the Kremlin", "Moscow", "Russia", "the fortress with the red stars", "domes"),
        (
            "hermitage",
            "the Hermitage",
            "Petersburg",
            "Russia",
            "the winter palace of the empress",
            "treasures",
        ),
        (
            "great_wall",
            "the Great Wall",
            "Beijing",
            "China",
            "the endless rampart over the mountains",
            "watchtowers",
        ),
        (
            "forbidden_city",
            "the Forbidden City",
            "Beijing",
            "China",
            "the walled palace of the emperors",
            "dragons",
        ),
        (
            "taj_mahal",
            "the Taj Mahal",
            "Agra",
            "India",
            "the white tomb of the beloved queen",
            "minarets",
        ),
        (
            "golden_temple",
            "the Golden Temple",
            "Amritsar",
            "India",
            "the gilded shrine in the holy pool",
            "pilgrims",
        ),
        (
            "red_fort",
            "the Red Fort",
            "Delhi",
            "India",
            "the sandstone castle of the moguls",
            "ramparts",
        ),
        (
            "christ_statue",
            "the Redeemer Statue",
            "Rio",
            "Brazil",
            "the giant with open arms above the beach",
            "arms",
        ),
        (
            "chichen_itza",
            "the Chichen Itza",
            "Merida",
            "Mexico",
            "the stepped temple of the serpent",
            "shadows",
        ),
        (
            "machu_picchu",
            "the Machu Picchu",
            "Cusco",
            "Peru",
            "the lost city in the clouds",
            "terraces",
        ),
        (
            "hagia_sophia",
            "the Hagia Sophia",
            "Istanbul",
            "Turkey",
            "the church that became a mosque",
            "dome",
        ),
        (
            "galata_bridge",
            "the Galata Bridge",
            "Istanbul",
            "Turkey",
            "the low bridge lined with anglers",
            "anglers",
        ),
        (
            "grand_palace",
            "the Grand Palace",
            "Bangkok",
            "Thailand",
            "the royal court of the emerald idol",
            "murals",
        ),
        (
            "tokyo_tower",
            "the Tokyo Tower",
            "Tokyo",
            "Japan",
            "the orange and white broadcasting mast",
            "antenna",
        ),
        (
            "golden_pavilion",
            "the Golden Pavilion",
            "Kyoto",
            "Japan",
            "the gilded temple beside the mirror pond",
            "phoenix",
        ),
        (
            "namsan_tower",
            "the Namsan Tower",
            "Seoul",
            "Korea",
            "the tower where lovers hang padlocks",
            "padlocks",
        ),
        (
            "chain_bridge",
            "the Chain Bridge",
            "Budapest",
            "Hungary",
            "the bridge guarded by stone cats",
            "cats",
        ),
        (
            "belem_tower",
            "the Belem Tower",
            "Lisbon",
            "Portugal",
            "the river fort of the explorers",
            "cannons",
        ),
        ("petra", "the Petra", "Musa", "Jordan", "the rose city carved in the rock", "tombs"),
        (
            "wawel_castle",
            "the Wawel Castle",
            "Krakow",
            "Poland",
            "the castle above the cave of the beast",
            "legends",
        ),
        (
            "vasa_museum",
            "the Vasa Museum",
            "Stockholm",
            "Sweden",
            "the hall of the sunken warship",
            "masts",
        ),
        (
            "hassan_mosque",
            "the Hassan Mosque",
            "Casablanca",
            "Morocco",
            "the prayer house above the ocean waves",
            "tiles",
        ),
    )
)
LANDMARK = {landmark.key: landmark for landmark in LANDMARKS}
_SUBJECTS = [text for landmark in LANDMARKS for text in (landmark.name, landmark.description)]


def deciding_prefix(subject: str) -> str:
    """The shortest run of whole words of a landmark's name or description that fits no other."""
    words = subject.split()
    for count in range(1, len(words)):
        prefix = " ".join(words[:count])
        if sum((text + " ").startswith(prefix + " ") for text in _SUBJECTS) == 1:
            return prefix
    return subject


_DISHES = {
    "Italy": "pizza risotto lasagna gnocchi carbonara tiramisu polenta ravioli minestrone pesto",
    "Japan": "sushi ramen tempura miso mochi udon onigiri soba",
    "France": "croissant ratatouille quiche cassoulet",
    "Spain": "paella gazpacho churros tortilla",
    "Greece": "moussaka souvlaki tzatziki",
    "Mexico": "tacos tamales pozole",
    "India": "biryani dosa samosa",
    "China": "dumplings chowmein wonton",
    "Thailand": "larb khaosoi",
    "Korea": "kimchi bibimbap bulgogi",
    "Vietnam": "pho banhmi",
    "Turkey": "baklava doner",
    "Germany": "sauerkraut bratwurst pretzel",
    "Hungary": "goulash langos",
    "Poland": "pierogi bigos",
    "Russia": "borscht blini",
    "Peru": "ceviche anticucho",
    "Brazil": "feijoada moqueca",
    "Morocco": "tagine couscous",
    "Egypt": "koshari",
    "Portugal": "bacalhau",
    "Sweden": "gravlax",
}
EEL_DISHES = (
    "unagi", "kabayaki", "unadon", "unaju", "hitsumabushi", "shirayaki", "kimoyaki", "umaki",
    "anago", "unatama",
)  # fmt: skip
DISHES: tuple[Dish, ...] = tuple(
    Dish(name, country) for country, names in _DISHES.items() for name in names.split()
) + tuple(Dish(name, "Japan", eel=True) for name in EEL_DISHES)

INSECTS: tuple[Insect, ...] = (
    Insect("mosquito", (
        "spreads malaria", "spreads dengue", "whines at night", "drinks blood",
        "breeds in ponds", "carries fever", "bites sleepers", "hates nets",
        "haunts swamps", "itches people",
    )),
    Insect("fruit fly", (
        "loves rotten bananas", "lives in genetics labs", "circles old wine",
        "has red eyes", "swarms over compost", "eats overripe peaches",
    )),
    Insect("bee", ("makes honey", "dances in hives", "visits clover", "serves a queen")),
    Insect("ant", ("builds hills", "carries crumbs", "marches in lines", "milks aphids")),
    Insect("silkworm", ("spins silk", "eats mulberry", "sleeps in cocoons")),
    Insect("locust", ("eats whole fields", "comes in plagues", "ruins harvests")),
    Insect("firefly", ("glows in the dark", "blinks in June", "lights the meadow")),
    Insect("termite", ("eats wood", "ruins beams", "builds mounds")),
    Insect("cricket", ("sings in summer", "chirps by the hearth", "rubs its wings")),
    Insect("wasp", ("builds paper nests", "stings at picnics", "hunts spiders")),
)  # fmt: skip

PRESIDENTS = (
    "Lincoln", "Washington", "Jefferson", "Roosevelt", "Kennedy", "Nixon", "Reagan", "Carter",
    "Truman", "Wilson", "Obama", "Clinton", "Bush", "Grant", "Jackson", "Hoover",
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(
    "Mary John Tom Anna Paul Lisa Mark Emma James Sarah Peter Julia David Laura Robert Alice "
    "George Helen Frank Clara Henry Nina Daniel Rose Simon Kate Martin Ruth Oscar Ella Felix "
    "Grace Victor Ivy Hugo Lucy Adam Sofia Leo Diana Max Eva Noah Maria Luke Olga Ryan Vera "
    "Carl Irene Eric Nora Alan Stella Brian Wendy Kevin Molly Steve Gina Jack Holly Scott Jane "
    "Neil Susan Dean Carol Gary Donna Ralph Betty Dennis Tina Keith Sally Roger Linda Bruce "
    "Karen Wayne Nancy Glenn Peggy Natalia Marco Elena Pedro Ingrid Ahmed Yuki Chen Priya Ivan "
    "Amara Kofi Lena Omar Zara Boris Fatima Diego Hana Rafael Selma Jonas Mira Anton".split()
)
