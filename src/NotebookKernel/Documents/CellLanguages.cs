using System.Text.Json.Nodes;

namespace NotebookKernel.Documents;

/// <summary>Reads the many ways in which notebooks name the language of a cell.</summary>
internal static class CellLanguages
{
    internal const string FSharp = "fsharp";
    internal const string Markdown = "markdown";

    /// <summary>The language of cells that do not name one.</summary>
    internal static string OfNotebook(JsonObject metadata)
    {
        string? named =
            NotebookDocument.Text((metadata["polyglot_notebook"] as JsonObject)?["kernelInfo"]?["defaultKernelName"])
            ?? NotebookDocument.Text((metadata["kernelspec"] as JsonObject)?["language"])
            ?? NotebookDocument.Text((metadata["kernelspec"] as JsonObject)?["name"]);
        return named is null ? FSharp : Normalise(named);
    }

    /// <summary>The language a cell's metadata name, or null.</summary>
    internal static string? OfCell(JsonObject metadata)
    {
        string? named =
            NotebookDocument.Text((metadata["polyglot_notebook"] as JsonObject)?["kernelName"])
            ?? NotebookDocument.Text((metadata["dotnet_interactive"] as JsonObject)?["language"])
            ?? NotebookDocument.Text((metadata["vscode"] as JsonObject)?["languageId"]);
        return named is null ? null : Normalise(named);
    }

    /// <summary>The name of a kernel's magic (<c>#!csharp</c>) on a line, or null.</summary>
    internal static string? Magic(string line)
    {
        string trimmed = line.Trim();
        return trimmed.Length > 2 && trimmed.StartsWith("#!", StringComparison.Ordinal) && char.IsAsciiLetter(trimmed[2])
            ? trimmed[2..].Split(' ', 2)[0]
            : null;
    }

    /// <summary>The language's usual name.</summary>
    internal static string Spoken(string language) =>
        language switch
        {
            "csharp" => "C#",
            "pwsh" or "powershell" => "PowerShell",
            "python" or "python3" => "Python",
            "javascript" => "JavaScript",
            _ => $"for the kernel '{language}'",
        };

    internal static string Normalise(string name) =>
        name.Trim().ToLowerInvariant() switch
        {
            "f#" or "fsharp" or "fs" or ".net-fsharp" or "polyglot-notebook" or "dotnet-interactive.fsharp" or "ionide-fsharp" =>
                FSharp,
            "c#" or "csharp" or "cs" or ".net-csharp" or "dotnet-interactive.csharp" => "csharp",
            var other => other,
        };
}
