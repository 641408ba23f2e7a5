"""One camera's lessons: pictures in while the agent permits it, a light on disk at the end.

Promises: nothing is gathered without a permit for this very connection, and what was gathered is forgotten with the permit,
the connection or the references it was gathered under; one lesson a permit; a disk that refuses is told, not raised.
Not its job: giving permits (core/learning.py), what a light is (vision/learn.py).
"""

import dataclasses
from typing import Final

from edge_agent import views
from edge_agent.capture.pipe import Permit
from edge_agent.core.messages import LessonEnded, SceneReading
from edge_agent.vision import Grey, References, Refusal
from edge_agent.vision.learn import Learnt, Lesson

_NONE: Final = Permit(camera="", connection=0, number=None)


class Learner:
    """Camera's thread, but for `permit`."""

    def __init__(self, folder: str, camera: str) -> None:
        self._folder = folder
        self._camera = camera
        self._permit = _NONE
        self._ended: int | None = None  # permit of the lesson that was told
        self._lesson: Lesson | None = None
        self._of: Permit = _NONE  # that the lesson goes by

    def permit(self, permit: Permit) -> None:
        """What the agent allows from now on. Any thread."""
        self._permit = permit

    def saw(
        self,
        grey: Grey,
        reading: SceneReading,
        references: References | None,
        *,
        connection: int,
        at: float,
    ) -> LessonEnded | None:
        """One more picture, taken *at* on *connection* and read against *references*; the lesson's end if this was it.

        A light that is kept is on disk then. Some 50 ms and a write to the disk at the end of a lesson, else 3 ms at most.
        """
        permit = self._permit
        number = permit.number
        if (
            number is None
            or number == self._ended
            or permit.connection != connection
            or references is None
        ):
            self._lesson = None
            return None
        lesson = self._lesson
        if lesson is None or self._of is not permit or lesson.references is not references:
            self._lesson = lesson = Lesson(references)
            self._of = permit
        lesson.see(grey, reading, at=at)
        if not lesson.complete:
            return None
        self._lesson, self._ended = None, number
        return self._end(lesson, permit, number)

    def _end(self, lesson: Lesson, permit: Permit, number: int) -> LessonEnded:
        references = lesson.references
        learnt = lesson.learnt(room=views.MAX_LIGHTS - len(references.approved))
        ended = LessonEnded(camera=self._camera, generation=permit.connection, permit=number)
        if isinstance(learnt, Refusal):
            return dataclasses.replace(ended, why=learnt.why)
        if self._permit is not permit:
            return dataclasses.replace(ended, why="continuity broke while it was learnt")
        why = self._keep(references, learnt)
        if why:
            return dataclasses.replace(ended, why=why)
        return dataclasses.replace(
            ended,
            anchor=references.anchor,
            light=learnt.light.name,
            of=learnt.of,
            replaced=learnt.replaces.name if learnt.replaces is not None else "",
            frames=learnt.light.frames,
            span_s=learnt.span_s,
            score=learnt.score,
            gain=learnt.gain,
            dx=learnt.dx,
            dy=learnt.dy,
            parts=learnt.parts,
            parts_of=learnt.parts_of,
            mean_grey=learnt.light.mean_grey,
        )

    def _keep(self, references: References, learnt: Learnt) -> str:
        """Write it; why that could not be done, "" if it was."""
        old = references.lights[len(references.approved) :]
        kept = tuple(light for light in old if light is not learnt.replaces)
        try:
            views.save_learnt(self._folder, self._camera, references.anchor, (*kept, learnt.light))
        except (OSError, ValueError) as fault:
            return f"it cannot be kept: {fault}"
        return ""
