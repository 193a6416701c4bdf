// Package view makes views of merchants known and removes them (access.View).
// What a view is, and which one is shown, package access knows; the summary
// function counts what a view holds. This package sees to it that neither is
// ever half done: whoever dies in between leaves a mark by which the summary
// function finds the view and goes on.
//
// A change of settings and a reprocess make views in the same way: they change
// the merchant by access.Merchant.WithSettings or WithView, and write it by
// Change or Update. The view is new then. The summary function's next ticks
// mark all its hours and count them, until it is ready.
//
// What is published is read through Published, by all who show something.
package view
