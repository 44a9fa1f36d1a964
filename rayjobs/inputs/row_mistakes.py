"""What is wrong in the rows of tables, and with columns of inputs: all of it counted, the first of it told."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.errors import JobError

TOLD = 20


@dataclass(slots=True)
class RowMistakes:
    """Gathered while inputs stream by, and told at once at the end."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, text: str) -> None:
        """``where`` is the row of a table, or an input's path."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(f"{where}: {text}")

    def tell(self) -> None:
        """Raise a JobError if there are any."""
        if self.count:
            more = [f"and {self.count - len(self.first):,} more"] if self.count > len(self.first) else []
            raise JobError("\n".join(f"inputs: {text}" for text in [*self.first, *more]))
