using System.Text.RegularExpressions;
using NotebookKernel.Jupyter;
using NotebookKernel.Running;
using NotebookKernel.Terminal;
using Spectre.Console;

namespace NotebookKernel.Cli;

/// <summary>Where a kernel is installed, as the user said.</summary>
internal sealed record KernelPlace(bool User, string? Prefix, string Name);

/// <summary>The commands <c>kernel install</c>, <c>uninstall</c> and <c>list</c>.</summary>
internal static partial class KernelSpecCommands
{
    internal static int Install(KernelPlace place, bool force)
    {
        string folder = FolderOf(place);
        if (Directory.Exists(folder) && KernelSpec.Read(folder) is not { IsOurs: true } && !force)
            throw new BadInputException(
                $"Another program's kernel lies in '{folder}'. Choose another --name, or replace it with --force."
            );
        Guarded(folder, () => KernelSpec.Write(folder));
        Console.Out.WriteLine($"Installed the kernel {place.Name} in {folder}.");
        var shadowed = KernelFolders
            .All.Select(parent => Path.Combine(parent, place.Name))
            .Where(other => other != folder && Directory.Exists(other));
        foreach (string other in shadowed)
            Console.Out.WriteLine(
                $"Note: a kernel of the same name lies in {other}; 'research kernel list' shows which one counts."
            );
        return ExitCodes.Success;
    }

    internal static int Uninstall(KernelPlace place, bool force)
    {
        string folder = FolderOf(place);
        if (!Directory.Exists(folder))
            throw new BadInputException($"There is no kernel in '{folder}'. 'research kernel list' shows those there are.");
        if (KernelSpec.Read(folder) is not { IsOurs: true } && !force)
            throw new BadInputException($"The kernel in '{folder}' is another program's. Remove it nevertheless with --force.");
        Guarded(folder, () => Directory.Delete(folder, recursive: true));
        Console.Out.WriteLine($"Removed the kernel {place.Name} from {folder}.");
        return ExitCodes.Success;
    }

    internal static int List()
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (string title in (string[])["Name", "Language", "Display name", "Folder"])
            table.AddColumn(new TableColumn(title) { NoWrap = title == "Name" });
        table.AddColumn("State");
        var known = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        var specs = KernelFolders
            .All.Where(Directory.Exists)
            .SelectMany(parent => Directory.EnumerateDirectories(parent).Order(StringComparer.Ordinal))
            .Select(KernelSpec.Read)
            .OfType<KernelSpec>()
            .ToList();
        if (specs.Count == 0)
        {
            Console.Out.WriteLine("No kernels are installed. 'research kernel install' installs this one.");
            return ExitCodes.Success;
        }
        foreach (var spec in specs)
            table.AddRow(
                new Text(spec.Name),
                new Text(spec.Language),
                new Text(spec.DisplayName),
                new Text(spec.Folder),
                new Text(State(spec, shadowed: !known.Add(spec.Name)))
            );
        Tables.Write(table);
        return ExitCodes.Success;
    }

    private static string State(KernelSpec spec, bool shadowed)
    {
        string owner = spec.IsOurs ? "research" : "another program's";
        bool gone = spec.IsOurs && spec.Program is { } program && !File.Exists(program);
        return owner
            + (gone ? ", its build is gone: install it again" : "")
            + (shadowed ? ", hidden by the one above of the same name" : "");
    }

    private static string FolderOf(KernelPlace place)
    {
        if (place.User && place.Prefix is not null)
            throw new BadInputException("--user and --prefix exclude each other. Give one of them.");
        if (!ValidName().IsMatch(place.Name))
            throw new BadInputException(
                $"'{place.Name}' is no name for a kernel: it may hold letters, digits, '.', '-' and '_' only, and not be dots alone."
            );
        return Path.Combine(place.Prefix is { } prefix ? KernelFolders.OfPrefix(prefix) : KernelFolders.User, place.Name);
    }

    private static void Guarded(string folder, Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"'{folder}' cannot be changed: {error.Message}");
        }
    }

    [GeneratedRegex(@"^(?!\.+$)[A-Za-z0-9._-]+$")]
    private static partial Regex ValidName();
}
