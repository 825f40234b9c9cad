"""``caseunet doctor``."""

from rich.markup import escape

from caseunet.cli.terminal import console


def doctor_verb() -> None:
    from caseunet.commands.doctor import check_machine

    findings = check_machine()
    signs = {"ok": "[green]✓[/green]", "note": "[yellow]![/yellow]", "problem": "[red]✗[/red]"}
    for finding in findings:
        console.print(
            f"{signs[finding.level]} {finding.subject}: {escape(finding.text)}", highlight=False, soft_wrap=True
        )
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)
