using System.Text;
using FSharp.Compiler.Interactive;
using Microsoft.FSharp.Core;

namespace NotebookKernel.Session;

/// <summary>Creates the F# compiler's interactive session with the references every notebook has.</summary>
internal static class FSharpHost
{
    /// <summary>The symbol that scripts can test (<c>#if RESEARCH</c>) to learn that this program runs them.</summary>
    internal const string Symbol = "RESEARCH";

    // The very files this process has loaded, so that cells and host share their statics (progress, interruption, displays).
    private static readonly string[] References =
    [
        "AttentionDistillation.dll",
        "AttentionDistillation.Notebooks.dll",
        "TorchSharp.dll",
        "Plotly.NET.dll",
        "Deedle.dll",
        "DynamicObj.dll",
        "Microsoft.AspNetCore.Html.Abstractions.dll",
        "Microsoft.DotNet.Interactive.Formatting.dll",
    ];

    private static (string Folder, ForwardingWriter Chatter, Task<Shell.FsiEvaluationSession> Session)? early;

    /// <summary>Begins to create the session that the next <see cref="Create"/> for the same folder takes: the compiler loads while libtorch does.</summary>
    internal static void StartEarly(string folder)
    {
        Directory.SetCurrentDirectory(folder);
        var chatter = new ForwardingWriter();
        early = (folder, chatter, Task.Run(() => CreateNow(chatter)));
    }

    /// <summary>A session whose own talk goes to a writer.</summary>
    internal static Shell.FsiEvaluationSession Create(string folder, TextWriter chatter)
    {
        if (early is not { } started || started.Folder != folder)
            return CreateNow(chatter);
        early = null;
        started.Chatter.Target = chatter;
        return started.Session.GetAwaiter().GetResult();
    }

    private static Shell.FsiEvaluationSession CreateNow(TextWriter chatter)
    {
        Shell.Settings.fsi.ShowDeclarationValues = false;
        var settings = Shell.FsiEvaluationSession.GetDefaultConfiguration(Shell.Settings.fsi, false);
        string home = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar);
        string[] arguments =
        [
            "fsi",
            "--nologo",
            "--exec",
            "--gui-",
            "--quiet",
            "--readline-",
            "--usesdkrefs-",
            "--targetprofile:netcore",
            $"--define:{Symbol}",
            $"--lib:{home}",
            .. References.Select(file => Path.Combine(home, file)).Where(File.Exists).Select(file => $"--reference:{file}"),
        ];
        return Shell.FsiEvaluationSession.Create(
            settings,
            arguments,
            TextReader.Null,
            chatter,
            chatter,
            FSharpOption<bool>.Some(false),
            null
        );
    }

    private sealed class ForwardingWriter : TextWriter
    {
        internal TextWriter? Target { get; set; }

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => Target?.Write(value);
    }
}
