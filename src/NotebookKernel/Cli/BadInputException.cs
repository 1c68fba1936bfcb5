namespace NotebookKernel.Cli;

/// <summary>The command line asks for something that cannot be done. The message is one line with the remedy.</summary>
internal sealed class BadInputException(string message) : Exception(message);
