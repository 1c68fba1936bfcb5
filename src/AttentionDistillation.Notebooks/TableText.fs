namespace AttentionDistillation.Notebooks

open System
open System.Net

/// Tables as HTML, Markdown and LaTeX.
module internal TableText =

    /// Neighbouring columns of one group: group and number of columns.
    let private groups (table: TableContent) =
        let folder (found: (string * int) list) (column: Column) =
            match found with
            | (group, count) :: rest when group = column.Group -> (group, count + 1) :: rest
            | _ -> (column.Group, 1) :: found

        table.Columns |> Array.fold folder [] |> List.rev

    let private grouped (table: TableContent) =
        table.Columns |> Array.exists (fun column -> column.Group <> "")

    let private whole (cell: CellText) =
        (if cell.Spread = "" then cell.Value else $"{cell.Value} ± {cell.Spread}")
        + cell.Note

    let html (table: TableContent) =
        let encode (text: string) = WebUtility.HtmlEncode text |> string
        let line = "border:none;"

        let number =
            "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding:4px 12px;"
            + line

        let words = "text-align:left;padding:4px 12px;" + line

        let rule width =
            $"border-bottom:{width}px solid #52606d;"

        let cell row column =
            let text = table.Cell(row, column)
            let isNumber = CellText.isNumber (snd table.Rows[row]).[column]
            let value = encode text.Value

            let value =
                if text.Spread = "" then
                    value
                else
                    $"{value} <span style=\"color:#52606d;font-weight:normal\">± {encode text.Spread}</span>"

            let value = if text.Bold then $"<strong>{value}</strong>" else value

            let note =
                if text.Note = "" then
                    ""
                else
                    $"<span style=\"color:#52606d;font-size:85%%\">{encode text.Note}</span>"

            $"<td style=\"{(if isNumber then number else words)}\">{value}{note}</td>"

        String.concat "" [
            "<table style=\"border-collapse:collapse;font-size:13px;color:#1f2933;background:white;border-top:2px solid #52606d;border-bottom:2px solid #52606d;margin:8px 0\">"
            if table.Caption <> "" then
                $"<caption style=\"caption-side:top;text-align:left;font-weight:600;padding:4px 0;color:inherit\">{encode table.Caption}</caption>"
            "<thead>"
            if grouped table then
                "<tr><th style=\"border:none\"></th>"

                for group, count in groups table do
                    let under = if group = "" then "" else rule 1
                    $"<th colspan=\"{count}\" style=\"text-align:center;padding:4px 12px;border:none;{under}\">{encode group}</th>"

                "</tr>"
            $"<tr><th style=\"{words}{rule 1}\">{encode table.RowTitle}</th>"
            for index in 0 .. table.Columns.Length - 1 do
                let isText =
                    table.Rows.Length > 0
                    && table.Rows
                       |> Array.forall (fun (_, cells) -> not (CellText.isNumber cells[index]))

                $"<th style=\"{(if isText then words else number)}{rule 1}\">{encode table.Columns[index].Title}</th>"
            "</tr></thead><tbody>"
            for row in 0 .. table.Rows.Length - 1 do
                $"<tr><td style=\"{words}\">{encode (fst table.Rows[row])}</td>"

                for column in 0 .. table.Columns.Length - 1 do
                    cell row column

                "</tr>"
            "</tbody>"
            if table.Notes.Length > 0 then
                let notes = encode (String.Join("; ", table.Notes))
                $"<tfoot><tr><td colspan=\"{table.Columns.Length + 1}\" style=\"text-align:left;font-size:11px;color:#52606d;padding:4px 12px;border:none;border-top:1px solid #cbd2d9\">{notes}</td></tr></tfoot>"
            "</table>"
        ]

    let private markdownEscape (text: string) =
        let marked =
            text.ReplaceLineEndings(" ")
            |> String.collect (fun letter -> if "\\`*_[]<>|#~$".Contains letter then $"\\{letter}" else string letter)

        marked.Trim()

    let markdown (table: TableContent) =
        let title (column: Column) =
            markdownEscape (if column.Group = "" then column.Title else $"{column.Title} ({column.Group})")

        let cell row column =
            let text = table.Cell(row, column)

            let value =
                if text.Spread = "" then
                    markdownEscape text.Value
                else
                    $"{markdownEscape text.Value} ± {text.Spread}"

            let gap = if text.Note.StartsWith ' ' then " " else ""
            (if text.Bold then $"**{value}**" else value) + gap + markdownEscape text.Note

        let header =
            markdownEscape table.RowTitle :: [ for column in table.Columns -> title column ]

        let body = [
            for row in 0 .. table.Rows.Length - 1 ->
                markdownEscape (fst table.Rows[row])
                :: [ for column in 0 .. table.Columns.Length - 1 -> cell row column ]
        ]

        let widths = [
            for index in 0 .. header.Length - 1 -> header :: body |> List.map (fun row -> row[index].Length) |> List.max |> max 3
        ]

        let write (row: string list) =
            let cells =
                List.mapi2
                    (fun index (text: string) (width: int) -> if index = 0 then text.PadRight width else text.PadLeft width)
                    row
                    widths

            "| " + String.Join(" | ", cells) + " |"

        let rule =
            widths
            |> List.mapi (fun index width -> if index = 0 then String('-', width) else String('-', width - 1) + ":")

        [
            if table.Caption <> "" then
                $"**{markdownEscape table.Caption}**"
                ""
            write header
            "| " + String.Join(" | ", rule) + " |"
            yield! List.map write body
            if table.Notes.Length > 0 then
                ""
                markdownEscape (String.Join("; ", table.Notes))
        ]
        |> String.concat "\n"

    let private latexEscape (text: string) =
        text.ReplaceLineEndings(" ")
        |> String.collect (fun letter ->
            match letter with
            | '\\' -> @"\textbackslash{}"
            | '{' -> @"\{"
            | '}' -> @"\}"
            | '~' -> @"\textasciitilde{}"
            | '^' -> @"\textasciicircum{}"
            | '&'
            | '%'
            | '$'
            | '#'
            | '_' -> $"\\{letter}"
            | '<' -> @"\textless{}"
            | '>' -> @"\textgreater{}"
            | '|' -> @"\textbar{}"
            | '†' -> @"\textsuperscript{\dag}"
            | '±' -> @"$\pm$"
            | '−' -> "$-$"
            | '×' -> @"$\times$"
            | '—' -> "---"
            | '–' -> "--"
            | '…' -> @"\ldots{}"
            | '‖' -> @"$\Vert$"
            | other -> string other)

    let latex (table: TableContent) =
        let cell row column =
            let text = table.Cell(row, column)
            let value = latexEscape text.Value
            let value = if text.Bold then $"\\textbf{{{value}}}" else value
            let spread = if text.Spread = "" then "" else $" $\\pm$ {latexEscape text.Spread}"
            value + spread + latexEscape text.Note

        let alignment =
            String.Join(
                "",
                [
                    for index in 0 .. table.Columns.Length - 1 ->
                        if
                            table.Rows.Length > 0
                            && table.Rows
                               |> Array.forall (fun (_, cells) -> not (CellText.isNumber cells[index]))
                        then
                            "l"
                        else
                            "r"
                ]
            )

        [
            @"% needs \usepackage{booktabs}"
            @"\begin{table}"
            @"\centering"
            if table.Caption <> "" then
                $"\\caption{{{latexEscape table.Caption}}}"
            $"\\begin{{tabular}}{{l{alignment}}}"
            @"\toprule"
            if grouped table then
                let spans = [
                    for group, count in groups table -> $"\\multicolumn{{{count}}}{{c}}{{{latexEscape group}}}"
                ]

                " & " + String.Join(" & ", spans) + @" \\"

                let rules, _ =
                    groups table
                    |> List.mapFold
                        (fun first (group, count) ->
                            (if group = "" then "" else $"\\cmidrule(lr){{{first}-{first + count - 1}}}"), first + count)
                        2

                String.Join(" ", rules |> List.filter (fun rule -> rule <> ""))
            latexEscape table.RowTitle
            + " & "
            + String.Join(" & ", [ for column in table.Columns -> latexEscape column.Title ])
            + @" \\"
            @"\midrule"
            for row in 0 .. table.Rows.Length - 1 do
                let cells = [ for column in 0 .. table.Columns.Length - 1 -> cell row column ]
                String.Join(" & ", latexEscape (fst table.Rows[row]) :: cells) + @" \\"
            @"\bottomrule"
            @"\end{tabular}"
            if table.Notes.Length > 0 then
                let notes = latexEscape (String.Join("; ", table.Notes))
                $"\\par\\smallskip{{\\footnotesize {notes}}}"
            @"\end{table}"
        ]
        |> String.concat "\n"
