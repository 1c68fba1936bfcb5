using Spectre.Console;
using Spectre.Console.Rendering;

namespace NotebookKernel.Terminal;

/// <summary>Writes tables to the terminal, or to a file without breaking their lines to a guess of a width.</summary>
internal static class Tables
{
    private const int WidthOfFiles = 200;

    internal static void Write(IRenderable table)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) });
        if (Console.IsOutputRedirected)
            console.Profile.Width = WidthOfFiles;
        console.Write(table);
    }
}
