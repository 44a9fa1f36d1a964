"""Where the files of an input lie, relative to the output, once it has its name: the plan and the workers ask alike.

What the names are: ``output_names``. A file of several images has further ones, each with charts of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.stages.output_names import frame_name


def image_stem(name: str, beside: str | None = None) -> str:
    """The path of an input's image without its suffix; ``beside`` is its place beside its source, if it has one."""
    return beside or f"images/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPaths:
    """The paths of a job's products."""

    image_suffixes: tuple[str, ...] = ()
    """What may follow an image's stem; several when each input keeps its own format, none when no image is written."""
    chart_suffix: str = ""
    charted: tuple[str, ...] = ()
    """Analyses that are drawn."""

    def images(self, stem: str) -> list[str]:
        """Where the rendered image may lie."""
        return [f"{stem}{suffix}" for suffix in self.image_suffixes]

    def chart(self, analysis: str, name: str) -> str:
        return f"charts/{analysis}/{name}{self.chart_suffix}"

    def charts(self, name: str) -> list[str]:
        return [self.chart(analysis, name) for analysis in self.charted]

    def further(self, stem: str, name: str) -> list[str]:
        """How the paths of a file's further images and of their charts begin."""
        stems = [stem] if self.image_suffixes else []
        stems += [f"charts/{analysis}/{name}" for analysis in self.charted]
        return [frame_name(each, 2).removesuffix("0002") for each in stems]
