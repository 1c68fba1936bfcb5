using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace NotebookKernel.Jupyter;

/// <summary>A kernel as Jupyter clients find it: a folder with a <c>kernel.json</c>.</summary>
/// <param name="Name">The folder's name, which notebooks carry.</param>
/// <param name="Folder">The folder.</param>
/// <param name="DisplayName">What people read.</param>
/// <param name="Language">The language it runs.</param>
/// <param name="IsOurs">True when this program wrote it.</param>
/// <param name="Program">The program it starts; null where it names none.</param>
internal sealed record KernelSpec(string Name, string Folder, string DisplayName, string Language, bool IsOurs, string? Program)
{
    /// <summary>The name that notebooks with Polyglot metadata carry.</summary>
    internal const string DefaultName = ".net-fsharp";

    private const string FileName = "kernel.json";
    private const string Mark = "research";
    private const string LibTorchVariable = "LIBTORCH";
    private static readonly string[] Logos = ["logo-32x32.png", "logo-64x64.png", "logo-svg.svg"];
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Reads a kernel's folder; null when there is no readable <c>kernel.json</c> in it.</summary>
    internal static KernelSpec? Read(string folder)
    {
        try
        {
            if (JsonNode.Parse(File.ReadAllText(Path.Combine(folder, FileName))) is not JsonObject file)
                return null;
            var arguments = file["argv"] as JsonArray ?? [];
            bool ours = file["metadata"] is JsonObject metadata && metadata.ContainsKey(Mark);
            // Ours start as 'dotnet NotebookKernel.dll ...': the library is what may be gone.
            int program =
                ours && arguments.Count > 1 && ((string?)arguments[1])?.EndsWith(".dll", StringComparison.Ordinal) == true
                    ? 1
                    : 0;
            return new KernelSpec(
                Path.GetFileName(folder),
                folder,
                (string?)file["display_name"] ?? "",
                (string?)file["language"] ?? "",
                ours,
                arguments.Count > program ? (string?)arguments[program] : null
            );
        }
        catch (Exception error)
            when (error
                    is IOException
                        or UnauthorizedAccessException
                        or JsonException
                        or InvalidOperationException
                        or ArgumentException
            )
        {
            return null;
        }
    }

    /// <summary>Writes a kernel that starts this build, whole or not at all.</summary>
    /// <param name="folder">Its folder; what was there is replaced.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    internal static void Write(string folder)
    {
        string parent = Path.GetDirectoryName(folder)!;
        Directory.CreateDirectory(parent);
        string mark = Guid.NewGuid().ToString("N")[..8];
        string fresh = Path.Combine(parent, $".new-{mark}"),
            former = Path.Combine(parent, $".old-{mark}");
        try
        {
            Directory.CreateDirectory(fresh);
            File.WriteAllText(Path.Combine(fresh, FileName), Content().ToJsonString(Indented) + "\n");
            foreach (string logo in Logos)
                WriteLogo(logo, fresh);
            if (Directory.Exists(folder))
                Directory.Move(folder, former);
            Directory.Move(fresh, folder);
        }
        catch
        {
            if (!Directory.Exists(folder) && Directory.Exists(former))
                Directory.Move(former, folder);
            throw;
        }
        finally
        {
            foreach (string rest in (string[])[fresh, former])
                if (Directory.Exists(rest))
                    Directory.Delete(rest, recursive: true);
        }
    }

    private static JsonObject Content()
    {
        var environment = new JsonObject();
        // A client started from a menu does not have the shell's variables.
        if (Environment.GetEnvironmentVariable(LibTorchVariable) is { Length: > 0 } libtorch)
            environment[LibTorchVariable] = libtorch;
        return new JsonObject
        {
            ["argv"] = new JsonArray([.. Command().Select(each => (JsonNode)each)]),
            ["display_name"] = ".NET (F#)",
            ["language"] = KernelInfo.Language,
            ["interrupt_mode"] = "message",
            ["env"] = environment,
            ["metadata"] = new JsonObject
            {
                ["debugger"] = false,
                [Mark] = new JsonObject { ["version"] = KernelInfo.Version },
            },
        };
    }

    // 'dotnet' by its full path, because a client started from a menu may not find it; without one (a self-contained program) the program itself.
    private static string[] Command()
    {
        string library = Path.Combine(AppContext.BaseDirectory, "NotebookKernel.dll");
        string name = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";
        string host = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", name));
        string[] program = File.Exists(host) && File.Exists(library) ? [host, library] : [Environment.ProcessPath!];
        return [.. program, "kernel", "run", "--connection-file", "{connection_file}"];
    }

    private static void WriteLogo(string name, string folder)
    {
        using var from =
            typeof(KernelSpec).Assembly.GetManifestResourceStream($"NotebookKernel.Resources.{name}")
            ?? throw new InvalidOperationException($"The resource {name} is missing from the build.");
        using var to = File.Create(Path.Combine(folder, name));
        from.CopyTo(to);
    }
}
