using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using FSharp.Compiler.Diagnostics;

namespace NotebookKernel.Session;

/// <summary>Words errors for the reader of a notebook: cell and line, the message, no internals of the host, no paths of the machine.</summary>
internal static partial class ErrorReports
{
    /// <summary>The name under which compile errors appear.</summary>
    internal const string CompileErrorName = "CompileError";

    // Errors after the first few are mostly echoes of them.
    private const int MostErrorsShown = 5;
    private const int ValueRestriction = 30;

    // A package that #r asks for cannot be had.
    private const int PackageError = 999;

    // 'parse error', which follows every real one.
    private const int Echo = 192;

    /// <summary>The file name a cell's code is compiled under; diagnostics and stack frames carry it.</summary>
    internal static string CellFile(string folder, int cell) => Path.Combine(folder, $"cell {cell}.fsx");

    /// <summary>A report of compile errors: each with its line of the cell and a caret.</summary>
    internal static CellFailed Compile(int cell, string code, IReadOnlyList<FSharpDiagnostic> errors, string folder)
    {
        if (errors.Any(error => error.ErrorNumber != Echo))
            errors = [.. errors.Where(error => error.ErrorNumber != Echo)];
        string[] lines = code.ReplaceLineEndings("\n").Split('\n');
        var traceback = new List<string>();
        foreach (var error in errors.Take(MostErrorsShown))
        {
            bool here = CellOf(error.FileName) == cell;
            string place =
                error.ErrorNumber == PackageError ? $"cell {cell}" // its file is that of some earlier cell
                : here ? $"cell {cell}, line {error.StartLine}"
                : $"{WithoutFolder(error.FileName, folder)}, line {error.StartLine}";
            traceback.Add($"{place}: error {error.ErrorNumberText}: {Message(error, folder)}");
            if (here && error.StartLine >= 1 && error.StartLine <= lines.Length)
            {
                string line = lines[error.StartLine - 1];
                int column = Math.Clamp(error.StartColumn, 0, line.Length);
                int end = error.EndLine == error.StartLine ? Math.Clamp(error.EndColumn, column, line.Length) : line.Length;
                traceback.Add("    " + line);
                traceback.Add("    " + new string(' ', column) + new string('^', Math.Max(1, end - column)));
            }
        }
        if (errors.Count > MostErrorsShown)
            traceback.Add($"and {errors.Count - MostErrorsShown} more errors");
        var first = errors[0];
        return new CellFailed(
            CompileErrorName,
            $"{first.ErrorNumberText}: {Message(first, folder)}",
            traceback,
            CellOf(first.FileName) == cell ? first.StartLine : null
        );
    }

    // The compiler's long words about 'it', a name the reader never wrote, in short.
    private static string Message(FSharpDiagnostic error, string folder) =>
        error.ErrorNumber == ValueRestriction && error.Message.Contains("'it'", StringComparison.Ordinal)
            ? "The cell's last expression has a generic type, so it has no value to show. Give it a type, as in (expression: int), or end "
                + "the cell with |> ignore<int>."
            : ResolverProject().Replace(Clean(error.Message, folder), "");

    /// <summary>One line about a compiler warning.</summary>
    internal static string Warning(FSharpDiagnostic warning, string folder)
    {
        string place = CellOf(warning.FileName) is { } cell ? $"cell {cell}" : WithoutFolder(warning.FileName, folder);
        string message = Clean(warning.Message, folder).ReplaceLineEndings(" ");
        return $"{place}, line {warning.StartLine}: warning {warning.ErrorNumberText}: {message}";
    }

    /// <summary>A report of an exception: the calls in cells and in loaded libraries, innermost first.</summary>
    internal static CellFailed Thrown(int cell, Exception thrown, string folder)
    {
        var error = Unwrap(thrown);
        var traceback = new List<string> { $"{error.GetType().Name}: {Clean(error.Message, folder)}" };
        int? line = Frames(error, traceback, cell, folder);
        for (var inner = error.InnerException; inner is not null; inner = inner.InnerException)
        {
            traceback.Add($"caused by {inner.GetType().Name}: {Clean(inner.Message, folder)}");
            line ??= Frames(inner, traceback, cell, folder);
        }
        return new CellFailed(error.GetType().Name, Clean(error.Message, folder), traceback, line);
    }

    /// <summary>The exception a cell's author caused, without the wrappers that reflection, tasks and static initialisation add.</summary>
    internal static Exception Unwrap(Exception error) =>
        error switch
        {
            TargetInvocationException or TypeInitializationException when error.InnerException is { } inner => Unwrap(inner),
            AggregateException { InnerExceptions: [var only] } => Unwrap(only),
            _ => error,
        };

    /// <summary>Text without the notebook's folder, the program's and the user's home, which mean nothing on another machine.</summary>
    internal static string Clean(string text, string folder)
    {
        text = SpaceAtLineEnd().Replace(text.Trim(), "\n");
        text = text.Replace(folder + Path.DirectorySeparatorChar, "", StringComparison.Ordinal)
            .Replace(folder, "the notebook's folder", StringComparison.Ordinal)
            .Replace(AppContext.BaseDirectory, "", StringComparison.Ordinal)
            .Replace(
                AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar),
                "the program's folder",
                StringComparison.Ordinal
            );
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        return home.Length > 1 ? text.Replace(home, "~", StringComparison.Ordinal) : text;
    }

    private static int? Frames(Exception error, List<string> report, int cell, string folder)
    {
        int? line = null;
        foreach (var frame in new StackTrace(error, fNeedFileInfo: true).GetFrames())
        {
            var method = frame.GetMethod();
            string? file = frame.GetFileName();
            if (CellOf(file) is { } from)
            {
                if (from == cell)
                    line ??= frame.GetFileLineNumber();
                string entry = $"   at {MethodName(method)}cell {from}, line {frame.GetFileLineNumber()}";
                if (report[^1] != entry)
                    report.Add(entry);
            }
            else if (method?.DeclaringType is { } type && IsOfInterest(type))
            {
                string at = file is null ? "" : $" in {Path.GetFileName(file)}, line {frame.GetFileLineNumber()}";
                report.Add($"   at {type.Name}.{method.Name}{at}");
            }
        }
        return line;
    }

    // A cell's top level is compiled into members that have no name worth showing.
    private static string MethodName(MethodBase? method) =>
        method is null || method.Name.Contains('@') || method.Name is ".cctor" or "main" or "Invoke" or "MoveNext"
            ? ""
            : method.Name + ", ";

    private static bool IsOfInterest(Type type)
    {
        string assembly = type.Assembly.GetName().Name ?? "";
        return !assembly.StartsWith("System", StringComparison.Ordinal)
            && !assembly.StartsWith("FSI-ASSEMBLY", StringComparison.Ordinal)
            && assembly is not ("FSharp.Core" or "FSharp.Compiler.Service" or "mscorlib" or "NotebookKernel");
    }

    private static int? CellOf(string? file) =>
        file is not null && CellFileName().Match(file) is { Success: true } match ? int.Parse(match.Groups[1].ValueSpan) : null;

    private static string WithoutFolder(string file, string folder) =>
        file.StartsWith(folder, StringComparison.Ordinal)
            ? file[folder.Length..].TrimStart(Path.DirectorySeparatorChar)
            : Path.GetFileName(file);

    // The project file that the package resolver writes for itself.
    [GeneratedRegex(@"\S*[/\\]Project\.fsproj\s*:\s*")]
    private static partial Regex ResolverProject();

    [GeneratedRegex(@"[ \t]*\r?\n")]
    private static partial Regex SpaceAtLineEnd();

    [GeneratedRegex(@"(?:^|[/\\])cell (\d+)\.fsx$")]
    private static partial Regex CellFileName();
}
