namespace NotebookKernel.Documents;

/// <summary>A file is not a notebook that this program can run. The message is one line that says why, and what to do.</summary>
public sealed class NotebookFormatException(string message, Exception? inner = null) : Exception(message, inner);
