return NotebookKernel.Cli.CommandLine.Run(args);
