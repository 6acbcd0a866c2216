"""Which address shows which page. All of these need a session (the gate denies by default)."""

from typing import Final

from starlette.routing import BaseRoute, Route

from nano.ui.pages import (
    alarms,
    cells,
    create,
    dashboard,
    drift,
    guest_inside,
    guest_settings,
    guest_snapshots,
    guests,
    images,
    journal,
    pools,
    screens,
    tasks,
)

PAGES: Final[list[BaseRoute]] = [
    Route("/", dashboard.dashboard),
    Route("/guests", guests.guests),
    Route("/guests/new", create.create_page),
    Route("/guests/new", create.create, methods=["POST"]),
    Route("/guests/new/estimate", create.estimate),
    Route("/guests/batch/{action}", create.batch, methods=["POST"]),
    Route("/guests/{guest}", guests.guest_page),
    Route("/guests/{guest}/row", guests.guest_row),
    Route("/guests/{guest}/menu", guests.guest_menu),
    Route("/guests/{guest}/console", guests.console_page),
    Route("/guests/{guest}/serial", guests.console_page),
    Route("/guests/{guest}/screen.png", screens.screen),
    Route("/guests/{guest}/inside", guest_inside.inside),
    Route("/guests/{guest}/told/{what}", guest_inside.told, methods=["POST"]),
    Route("/guests/{guest}/delete", guests.delete, methods=["POST"]),
    Route("/guests/{guest}/settings/{part}", guest_settings.change, methods=["POST"]),
    Route("/guests/{guest}/snapshots", guest_snapshots.create, methods=["POST"]),
    Route("/guests/{guest}/snapshot-schedule", guest_snapshots.schedule, methods=["POST"]),
    Route("/guests/{guest}/snapshots/{snapshot}/{action}", guest_snapshots.act, methods=["POST"]),
    Route("/guests/{guest}/{action}", guests.act, methods=["POST"]),
    Route("/pools", pools.pools),
    Route("/pools", pools.create, methods=["POST"]),
    Route("/pools/{pool}", pools.modify, methods=["POST"]),
    Route("/pools/{pool}/delete", pools.delete, methods=["POST"]),
    Route("/cells", cells.cells),
    Route("/cells/{cell}", cells.cell_page),
    Route("/cells/{cell}/{action}", cells.act, methods=["POST"]),
    Route("/images", images.images),
    Route("/images", images.register, methods=["POST"]),
    Route("/images/build", images.build, methods=["POST"]),
    Route("/images/sync", images.sync, methods=["POST"]),
    Route("/media", images.images),
    *(
        Route(f"/{kind}{path}", page, methods=[method])
        for kind in ("images", "media")
        for method, path, page in (
            ("POST", "/upload", images.begin_upload),
            ("PUT", "/{image}/content", images.send),
            ("GET", "/{image}/content", images.download),
            ("GET", "/{image}/received", images.received),
            ("POST", "/{image}/finish", images.finish_upload),
            ("GET", "/{image}/edit", images.edit_page),
            ("POST", "/{image}/edit", images.edit),
            ("POST", "/{image}/delete", images.delete),
        )
    ),
    Route("/tasks", tasks.tasks),
    Route("/tasks/{task}", tasks.task_page),
    Route("/tasks/{task}/cancel", tasks.cancel, methods=["POST"]),
    Route("/journal", journal.journal),
    Route("/alarms", alarms.alarms),
    Route("/drift", drift.drift),
    Route("/drift/repair/{guest}", drift.repair, methods=["POST"]),
    Route("/drift/remove", drift.remove, methods=["POST"]),
]
