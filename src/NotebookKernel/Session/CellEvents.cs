namespace NotebookKernel.Session;

/// <summary>Something a running cell did that its reader should see. The order of events is the order of happening.</summary>
public abstract record CellEvent;

/// <summary>Text on a standard stream.</summary>
/// <param name="Name"><c>stdout</c> or <c>stderr</c>.</param>
/// <param name="Text">The text, as written; it need not end a line.</param>
public sealed record StreamText(string Name, string Text) : CellEvent
{
    /// <summary>Name of the standard output stream.</summary>
    public const string Out = "stdout";

    /// <summary>Name of the standard error stream.</summary>
    public const string Error = "stderr";
}

/// <summary>A value was shown.</summary>
/// <param name="Id">The display's identity, which updates name.</param>
/// <param name="Bundle">The value's forms: MIME type to text.</param>
public sealed record Displayed(string Id, IReadOnlyDictionary<string, string> Bundle) : CellEvent;

/// <summary>A value that was shown, in this cell or an earlier one, is replaced.</summary>
/// <param name="Id">The display's identity.</param>
/// <param name="Bundle">The new forms.</param>
public sealed record DisplayUpdated(string Id, IReadOnlyDictionary<string, string> Bundle) : CellEvent;

/// <summary>The cell ended in an expression with a value.</summary>
/// <param name="Bundle">The value's forms.</param>
public sealed record ResultValue(IReadOnlyDictionary<string, string> Bundle) : CellEvent;

/// <summary>The cell failed.</summary>
/// <param name="Name">The error's kind: an exception's type, or <c>CompileError</c>.</param>
/// <param name="Message">What is wrong, in one line where possible.</param>
/// <param name="Traceback">The whole report, line by line, free of the host's internals.</param>
/// <param name="Line">The line of the cell, counted from 1, where known.</param>
public sealed record CellFailed(string Name, string Message, IReadOnlyList<string> Traceback, int? Line) : CellEvent;

/// <summary>How a cell ended.</summary>
public enum CellStatus
{
    /// <summary>It ran to its end.</summary>
    Done,

    /// <summary>It does not compile, or threw.</summary>
    Failed,

    /// <summary>It stopped because a stop was requested.</summary>
    Interrupted,
}
