using System.Reflection;
using System.Text.Json.Nodes;

namespace NotebookKernel.Jupyter;

/// <summary>What the kernel says of itself.</summary>
internal static class KernelInfo
{
    /// <summary>The language as the notebooks' metadata name it.</summary>
    internal const string Language = "F#";

    private const string MimeType = "text/x-fsharp";

    /// <summary>The program's version.</summary>
    internal static string Version =>
        typeof(KernelInfo)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
            ?.InformationalVersion.Split('+')[0]
        ?? "1.0.0";

    /// <summary>The content of a <c>kernel_info_reply</c>.</summary>
    internal static JsonObject Content() =>
        new()
        {
            ["status"] = "ok",
            ["protocol_version"] = WireFormat.ProtocolVersion,
            ["implementation"] = "research",
            ["implementation_version"] = Version,
            ["language_info"] = new JsonObject
            {
                ["name"] = Language,
                ["version"] = typeof(Microsoft.FSharp.Core.Unit).Assembly.GetName().Version!.ToString(2),
                ["mimetype"] = MimeType,
                ["file_extension"] = ".fsx",
                ["pygments_lexer"] = "fsharp",
                ["codemirror_mode"] = MimeType,
                ["nbconvert_exporter"] = "script",
            },
            ["banner"] = $"research {Version}: F# on .NET {Environment.Version}, attention distillation with TorchSharp",
            ["debugger"] = false,
            ["supported_features"] = new JsonArray(),
            ["help_links"] = new JsonArray(
                Link("F#", "https://learn.microsoft.com/dotnet/fsharp/"),
                Link("TorchSharp", "https://github.com/dotnet/TorchSharp"),
                Link("Plotly.NET", "https://plotly.net/"),
                Link("Deedle", "https://fslab.org/Deedle/")
            ),
        };

    private static JsonObject Link(string text, string url) => new() { ["text"] = text, ["url"] = url };
}
