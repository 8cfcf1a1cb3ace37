"""Where the time of a run goes, by torch's modules: the boxes of the report's picture of `make
profile`. A box is as wide as its share; those of the modules inside it stand below it."""
import dataclasses

DEPTH = 3  # modules in modules that are shown; the operators come below
LEAST = 0.002  # share of the run below which a box shows nothing that could be read


@dataclasses.dataclass
class Box:
    """A module or a type of operator: share is of the run, kind is given to operators alone."""

    name: str
    share: float = 0.0
    kind: str = ""
    inside: dict = dataclasses.field(default_factory=dict)

    @property
    def boxes(self):
        """The boxes below this one that can be seen, in the order of computation."""
        return [box for box in self.inside.values() if box.share >= LEAST]

    @property
    def said(self):
        """Its name and share, for people."""
        return f"{self.name} {self.share:.1%}" + (f", {self.kind}" if self.kind else "")


def tree(operators):
    """The Box of the whole network, for the "operators" of a profile_….json."""
    whole = Box("the network")
    for row in operators:
        modules = row["module"].removeprefix("before ").split(".")[:DEPTH]
        box = whole
        box.share += row["share"]
        for name in [*modules, row["type"]]:
            box = box.inside.setdefault(name, Box(name))
            box.share += row["share"]
        box.kind = row["kind"]
    return whole


def about(profile):
    """What was profiled, as text."""
    return (f"{profile['engine']} {profile['precision']}, batch {profile['batch']}"
            + (", demo weights" if profile.get("demo") else ""))


def title(profile):
    """The same with the time of a run, as a heading."""
    return f"{about(profile)}: {profile['ms']:.2f} ms a run"
