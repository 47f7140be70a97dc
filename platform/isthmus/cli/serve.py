"""The command `serve`, which puts a pair behind HTTP."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from isthmus.cli.numbers import whole_number
from isthmus.cli.terminal import out
from isthmus.cli.use import Model

if TYPE_CHECKING:
    from isthmus.registry import Device

OnDevice = Annotated[
    str, typer.Option("--device", help="auto, cpu or gpu; auto is a GPU if there is one.")
]
Replicas = Annotated[
    int, typer.Option(help="How many processes hold the pair.", parser=whole_number)
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="How many threads each of them computes with; by default its share of the CPUs.",
        parser=whole_number,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="A Ray cluster that serves; by default this machine.", show_default=False
    ),
]


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", parser=whole_number)] = 8000,
    replicas: Replicas = 1,
    threads: Threads = None,
    queue: Annotated[
        int,
        typer.Option(help="How many requests may wait; further ones get 429.", parser=whole_number),
    ] = 128,
    batch_wait_ms: Annotated[
        float, typer.Option(help="How long a request waits for others to be computed with.")
    ] = 2.0,
    max_request_mib: Annotated[
        int, typer.Option(help="The largest body of a request, in MiB.", parser=whole_number)
    ] = 64,
    device: OnDevice = "auto",
    address: Address = None,
    route: Annotated[
        str, typer.Option(help="The path that those of the service begin with.")
    ] = "/",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take the place of this model's service on the cluster."),
    ] = False,
) -> None:
    """Serve a pair over HTTP until Ctrl-C: detect, denoise, embed, decode.

    An alias is followed: once another version is promoted, that one answers. With
    ISTHMUS_SERVE_TOKEN set, requests need the header Authorization: Bearer TOKEN.

    Example: isthmus serve --model digits@champion
    """
    from isthmus.resources import threads as threads_of
    from isthmus.serve.options import Place, ServeOptions, token_digest_from_environment
    from isthmus.serve.server import serving
    from isthmus.spec import Settings

    options = ServeOptions(
        model=model,
        replicas=replicas,
        threads=threads or threads_of(replicas),
        queue=queue,
        batch_wait_ms=batch_wait_ms,
        max_request_mib=max_request_mib,
        token_sha256=token_digest_from_environment(),
    )
    place = Place(host, port, route, address, cast("Device", device), replace)
    with serving(options, place, Settings.from_environment()) as service:
        out.print(
            f"{service.model} (pair {service.pair_id}) answers at [bold]{service.url}[/bold]  "
            "(/docs says how; Ctrl-C stops it)"
        )
        service.wait()
    out.print("Stopped.")
